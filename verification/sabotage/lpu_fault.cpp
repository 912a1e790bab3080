// The side of lpu_fault.v that reads the environment.
#include <cstdlib>

extern "C" int lpu_fault_number() {
    const char* text = std::getenv("LPU_FAULT");
    return text ? std::atoi(text) : 0;
}
