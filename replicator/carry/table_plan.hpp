#pragma once
// What a disk's partition table needs when its content goes to a disk of another size or sector
// size. Pure: the decision and the bytes; restore.cpp writes them after the content.
//
//   content           | target: same sectors, same size | larger               | other sectors
//   no table          | as it is                        | as it is             | as it is, said
//   MBR               | as it is                        | as it is             | refused
//   GPT               | as it is                        | backup GPT at the end| GPT anew, or refused
//   GPT, sums wrong   | as it is, said                  | as it is, said       | refused
//
// A GPT can be made anew for other sectors when every partition begins and ends where a sector of
// the target does, and the table has room before the first and behind the last.

#include "replicator/base/bytes.hpp"
#include "replicator/base/error.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace farshore::carry {

struct disk_shape {
    std::uint64_t bytes = 0;
    std::uint32_t sector_bytes = 512;
};

struct table_write {
    std::uint64_t offset = 0;
    byte_vector bytes;
};
struct table_plan {
    std::vector<table_write> writes; ///< in this order: the main table is last
    std::string remark;              ///< for the operator; empty: nothing to say
};

/// `head`: the first table_head_bytes of the content. errc::invalid: the target is too small.
/// errc::refused: its table can't be kept; nothing was written yet.
result<table_plan> plan_table(bytes_view head, std::uint64_t content_bytes,
                              const disk_shape &target);

} // namespace farshore::carry
