#pragma once
// Two sites in one thread: disks, a line, a clock, both daemons, a writer and the judge; all drawn from a seed.

#include "replicator/engine/receiver.hpp"
#include "replicator/engine/sender.hpp"
#include "replicator/engine/sender_access.hpp"
#include "tests/sim/oracle.hpp"
#include "tests/sim/sim_network.hpp"
#include "tests/support/sim_clock.hpp"
#include "tests/support/sim_file_system.hpp"

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace farshore::sim {

/// A promise was broken; the message says which. Caught by the runner, which prints the seed.
struct broken_promise {
    std::string what;
};

struct two_sites_options {
    std::uint64_t seed = 1;
    bool verbose = false;
};

class two_sites {
  public:
    explicit two_sites(two_sites_options options);
    ~two_sites();

    /// One whole life: pair, load and faults by dice, heal, wait, compare. Throws broken_promise.
    void run();
    /// Folds everything observable of the run into one number: equal seeds must give equal traces.
    std::uint64_t trace() const { return trace_; }

  private:
    // hosts
    void start_sender();
    void start_receiver();
    void end_sender();
    void end_receiver();
    void pair();
    // one step of the dice
    void step();
    void some_writes();
    void one_write();
    void crash_sender();
    void crash_receiver();
    void disturb_line();
    void calm_line();
    void disturb_disk();
    void command();
    void look_at_newest_point();
    void wait_for_barrier(duration patience, bool must);
    void finish();
    void lose_primary();
    // small things
    void say(const std::string &text);
    void note(std::uint64_t value);
    std::uint64_t roll(std::uint64_t n); ///< 0..n-1
    bool one_in(std::uint64_t n) { return roll(n) == 0; }
    void pass_time(duration d);
    template <class T> T await(task<T> t, duration patience);
    std::vector<byte_vector> read_primary();
    void resync_oracle();
    std::vector<byte_vector> read_replica();

    two_sites_options options_;
    std::mt19937_64 dice_;
    test::sim_clock clock_;
    asio::io_context io_;
    sim_file_system primary_;
    sim_file_system site_;
    std::unique_ptr<transport::memory_network> line_;
    std::vector<std::uint64_t> sizes_;
    oracle oracle_;
    std::unique_ptr<file_system> sender_files_;
    std::unique_ptr<file_system> receiver_files_;
    std::unique_ptr<engine::sender> sender_;
    std::unique_ptr<engine::receiver> receiver_;
    std::uint64_t boots_ = 1;
    std::uint64_t durable_sequence_ = 0; ///< of the newest barrier that a wait was told to be durable
    std::uint64_t safe_sequence_ = 0;    ///< of the newest that a wait was told to be shown
    bool line_disturbed_ = false;
    bool disk_disturbed_ = false;
    bool replica_touched_ = false; ///< somebody wrote to the copy: points can't be judged until it is repaired
    std::uint64_t trace_ = 0;
};

} // namespace farshore::sim
