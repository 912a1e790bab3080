// Files of vector_file.v: vectors.bin has rows of four 32-bit words, results.bin one word a row, both little endian.
#include <cstdint>
#include <cstdio>

static FILE *vectors, *results;

extern "C" int vector_next(uint32_t *row) {
    if (!vectors) vectors = std::fopen("vectors.bin", "rb");
    return vectors && std::fread(row, 4, 4, vectors) == 4;
}

extern "C" void vector_result(int word) {
    if (!results) results = std::fopen("results.bin", "wb");
    if (results) std::fwrite(&word, 4, 1, results);
}

extern "C" void vector_flush() {
    if (results) std::fflush(results);
}
