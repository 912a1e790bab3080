// Number of the fault that this simulation has (0: none), from the environment variable LPU_FAULT.
import "DPI-C" function int lpu_fault_number();

module lpu_fault (output reg [7:0] number);
    initial number = 8'(lpu_fault_number());
endmodule
