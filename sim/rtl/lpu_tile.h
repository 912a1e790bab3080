// Ports of a tile's simulator <-> signals of the design that holds it (sim/tiles.py).
#pragma once

#include <cstring>

#include "verilated.h"

namespace lpu_tile {

// Stream registers: words of 160 bits, of which only the driven ones mean anything (hdl/stream.py).
template <std::size_t N> void copy_driven(VlWide<N>& to, const VlWide<N>& from, IData driven) {
    constexpr int words = 5;
    for (; driven; driven &= driven - 1) {
        const int first = words * __builtin_ctz(driven);
        std::memcpy(to.data() + first, from.data() + first, words * sizeof(EData));
    }
}

}  // namespace lpu_tile
