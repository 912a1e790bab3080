// Ports of a tile's simulator <-> arguments of DPI functions (sim/tiles.py).
#pragma once

#include <cstring>

#include "svdpi.h"
#include "verilated.h"

namespace lpu_tile {

inline void put(CData& port, unsigned char value) { port = value; }
inline void put(CData& port, const svBitVecVal* value) { port = static_cast<CData>(*value); }
inline void put(SData& port, const svBitVecVal* value) { port = static_cast<SData>(*value); }
inline void put(IData& port, const svBitVecVal* value) { port = *value; }
inline void put(QData& port, const svBitVecVal* value) { port = value[0] | static_cast<QData>(value[1]) << 32; }
template <std::size_t N> void put(VlWide<N>& port, const svBitVecVal* value) { std::memcpy(port.data(), value, 4 * N); }

inline void get(unsigned char* value, const CData& port) { *value = port; }
inline void get(svBitVecVal* value, const CData& port) { *value = port; }
inline void get(svBitVecVal* value, const SData& port) { *value = port; }
inline void get(svBitVecVal* value, const IData& port) { *value = port; }
inline void get(svBitVecVal* value, const QData& port) {
    value[0] = static_cast<svBitVecVal>(port);
    value[1] = static_cast<svBitVecVal>(port >> 32);
}
template <std::size_t N> void get(svBitVecVal* value, const VlWide<N>& port) { std::memcpy(value, port.data(), 4 * N); }

}  // namespace lpu_tile
