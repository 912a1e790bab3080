// The C++ side of a simulation: memory contents to load, memory contents dumped, the stream trace, and bits to be flipped.
//
// lpu_sram.v, lpu_srf_monitor.v and lpu_stream_fault.v call the first group of functions through DPI; Python inside the simulator's process
// (sim/native.py) calls the second group through ctypes. One simulation per process, one thread.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "svdpi.h"

namespace {

constexpr int kWords = 5;  // a memory word is passed as 5 x 32 bits, low bits first

struct Load {  // words waiting for the next rising edge of sim_load
    std::vector<uint32_t> addresses;
    std::vector<uint32_t> words;
    size_t next = 0;
};

struct Dump {  // consecutive words wanted at the next rising edge of sim_dump, then the words
    uint32_t first;
    uint32_t count;
    bool complete = false;  // the memory has handed over all of them
    std::vector<uint32_t> words;
};

struct Header {  // one (cycle, boundary, superlane) with at least one driven stream; layout known to sim/native.py
    uint32_t cycle;
    uint16_t boundary;
    uint16_t superlane;
    uint64_t driven;
};
static_assert(sizeof(Header) == 16);

constexpr size_t kStreamWord = 18;  // 16 data bytes, 2 bytes with the 9 check bits
constexpr size_t kFlush = 1 << 20;

std::unordered_map<uint32_t, Load> loads;
std::unordered_map<uint32_t, Dump> dumps;
struct Flip {  // a bit of the word on a stream, at a boundary and superlane in a cycle
    int cycle, boundary, superlane, stream, position;
};

std::vector<Flip> flips;
std::vector<uint8_t> headers, stream_words;
FILE *header_file = nullptr, *word_file = nullptr;
std::string error;

void fail(const std::string &message) {
    if (error.empty()) error = message;
}

void flush(std::vector<uint8_t> &buffer, FILE *file) {
    if (file && fwrite(buffer.data(), 1, buffer.size(), file) != buffer.size()) fail("cannot write the trace file");
    buffer.clear();
}

}  // namespace

extern "C" {

// ---- called by the RTL

int lpu_load_next(int id, int width, int depth, int *address, svBitVecVal *word) {
    auto found = loads.find(id);
    if (found == loads.end()) return 0;
    Load &load = found->second;
    if (load.next == load.addresses.size()) {
        loads.erase(found);
        return 0;
    }
    if (load.addresses[load.next] >= static_cast<uint32_t>(depth) || width > 32 * kWords) {
        fail("memory " + std::to_string(id) + " of " + std::to_string(depth) + " x " + std::to_string(width) +
             " bits has no word " + std::to_string(load.addresses[load.next]));
        loads.erase(found);
        return 0;
    }
    *address = static_cast<int>(load.addresses[load.next]);
    memcpy(word, &load.words[load.next * kWords], 4 * kWords);
    load.next++;
    return 1;
}

int lpu_dump_next(int id, int depth, int *address) {
    auto found = dumps.find(id);
    if (found == dumps.end()) return 0;
    Dump &dump = found->second;
    uint32_t done = dump.words.size() / kWords;
    if (dump.first + dump.count > static_cast<uint32_t>(depth)) {
        fail("memory " + std::to_string(id) + " of " + std::to_string(depth) + " words has no words " +
             std::to_string(dump.first) + " to " + std::to_string(dump.first + dump.count - 1));
        return 0;
    }
    if (done == dump.count) {
        if (dump.complete) fail("two memories have the id " + std::to_string(id));
        dump.complete = true;
        return 0;
    }
    *address = static_cast<int>(dump.first + done);
    return 1;
}

void lpu_dump_word(int id, const svBitVecVal *word) {
    std::vector<uint32_t> &words = dumps[id].words;
    words.insert(words.end(), word, word + kWords);
}

void lpu_srf_begin(int cycle, int boundary, int superlane, long long driven) {
    if (!header_file) return;
    Header header{uint32_t(cycle), uint16_t(boundary), uint16_t(superlane), uint64_t(driven)};
    auto bytes = reinterpret_cast<const uint8_t *>(&header);
    headers.insert(headers.end(), bytes, bytes + sizeof header);
    if (headers.size() > kFlush) flush(headers, header_file);
    if (stream_words.size() > kFlush) flush(stream_words, word_file);
}

void lpu_srf_word(const svBitVecVal *word) {
    if (!word_file) return;
    auto bytes = reinterpret_cast<const uint8_t *>(word);
    stream_words.insert(stream_words.end(), bytes, bytes + kStreamWord);
}

int lpu_flip_next(int cycle, int boundary, int superlane, int *stream, int *position) {
    for (Flip &flip : flips) {
        if (flip.cycle != cycle || flip.boundary != boundary || flip.superlane != superlane) continue;
        *stream = flip.stream;
        *position = flip.position;
        flip = flips.back();
        flips.pop_back();
        return 1;
    }
    return 0;
}

// ---- called by Python

void lpu_load_add(uint32_t id, uint32_t count, const uint32_t *addresses, const uint32_t *words) {
    Load &load = loads[id];
    load.addresses.insert(load.addresses.end(), addresses, addresses + count);
    load.words.insert(load.words.end(), words, words + size_t(count) * kWords);
}

uint32_t lpu_load_pending() { return static_cast<uint32_t>(loads.size()); }

void lpu_load_clear() { loads.clear(); }

void lpu_dump_want(uint32_t id, uint32_t first, uint32_t count) {
    Dump &dump = dumps[id] = Dump{first, count};
    dump.words.reserve(size_t(count) * kWords);
}

// Dumped words of a memory, count x 5, valid until lpu_dump_clear; null unless all that were wanted have come.
const uint32_t *lpu_dump_get(uint32_t id) {
    auto found = dumps.find(id);
    return found == dumps.end() || !found->second.complete ? nullptr : found->second.words.data();
}

void lpu_dump_clear() { dumps.clear(); }

// Record driven stream words from now on, headers and words in two files. Returns 0 if a file cannot be opened.
int lpu_trace_open(const char *header_path, const char *word_path) {
    header_file = fopen(header_path, "wb");
    word_file = fopen(word_path, "wb");
    return header_file && word_file;
}

void lpu_trace_close() {
    flush(headers, header_file);
    flush(stream_words, word_file);
    if (header_file && fclose(header_file)) fail("cannot close the trace file");
    if (word_file && fclose(word_file)) fail("cannot close the trace file");
    header_file = word_file = nullptr;
}

void lpu_flip_add(int cycle, int boundary, int superlane, int stream, int position) {
    flips.push_back(Flip{cycle, boundary, superlane, stream, position});
}

// Forget all flips; returns how many have not happened.
uint32_t lpu_flip_clear() {
    uint32_t left = static_cast<uint32_t>(flips.size());
    flips.clear();
    return left;
}

// First error since the last call, "" if there was none. Valid until the next call of any function.
const char *lpu_error() {
    static std::string last;
    last.swap(error);
    error.clear();
    return last.c_str();
}
}
