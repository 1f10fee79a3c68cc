#pragma once
// The demo's application: one thread writes the dependent records, another one ballast, as a
// database would: hot pages again and again, rows that hardly compress beside text that does.

#include "replicator/demo/store.hpp"

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace farshore::demo {

class writers {
  public:
    explicit writers(storage &where) : where_(where) {}
    ~writers() { stop(); }
    writers(const writers &) = delete;
    writers &operator=(const writers &) = delete;

    void start();
    /// Ends both threads; the record in hand is finished on both volumes first when storage
    /// answers.
    void stop();

    std::uint64_t records() const { return records_; } ///< on both volumes
    std::uint64_t bytes() const { return bytes_; }
    std::uint64_t reconnects() const { return reconnects_; }
    /// Why writing ended by itself; empty while it goes on.
    std::string problem() const;

  private:
    void write_records();
    void write_ballast();
    template <class Step>
    void run(Step step);
    void note(const error &e);

    storage &where_;
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint64_t> records_{0};
    std::atomic<std::uint64_t> bytes_{0};
    std::atomic<std::uint64_t> reconnects_{0};
    mutable std::mutex lock_; ///< for problem_, which is read while both threads run
    std::string problem_;
    std::thread record_thread_;
    std::thread ballast_thread_;
};

} // namespace farshore::demo
