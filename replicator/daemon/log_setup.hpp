#pragma once
// The daemons' log: base/log.hpp into standard error, by spdlog on a thread of its own, so that a
// full pipe never stalls a write; what doesn't fit its queue is dropped, oldest first.

namespace farshore {

/// Under systemd (JOURNAL_STREAM is set) lines carry a priority for the journal, otherwise a time.
void set_up_log(bool debug);
/// Writes what is queued. No message comes out afterwards.
void shut_down_log();

} // namespace farshore
