// Files of vector_file.v: vectors.bin holds the words of each cycle, results.bin those that come out, 32 bits, little endian.
#include <cstdint>
#include <cstdio>

static FILE *vectors, *results;

extern "C" int vector_next(int words, uint32_t *row) {
    if (!vectors) vectors = std::fopen("vectors.bin", "rb");
    return vectors && std::fread(row, 4, words, vectors) == size_t(words);
}

extern "C" void vector_result(int words, const uint32_t *row) {
    if (!results) results = std::fopen("results.bin", "wb");
    if (results) std::fwrite(row, 4, words, results);
}

extern "C" void vector_flush() {
    if (results) std::fflush(results);
}
