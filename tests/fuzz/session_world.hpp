#pragma once
// What the session targets share: one thread with a simulated clock, a line in memory, simulated
// disks, and ops that a fuzzer's bytes are read as. Every input begins from the same prepared
// disks, so that an input alone repeats what it found.

#include "replicator/base/assert.hpp"
#include "replicator/base/hash.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/receiver/receiver.hpp"
#include "replicator/receiver/receiver_access.hpp"
#include "replicator/sender/sender.hpp"
#include "replicator/sender/sender_access.hpp"
#include "replicator/session/envelope.hpp"
#include "tests/sim/sim_network.hpp"
#include "tests/support/sim_clock.hpp"
#include "tests/support/sim_file_system.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>

namespace farshore::fuzz {

constexpr const char *address = "site:7420";
constexpr std::uint64_t volume_bytes = 64 * limits::KiB;
inline const std::string sender_fingerprint(64, 'a');
inline const std::string other_fingerprint(64, 'c');
inline const std::string receiver_fingerprint(64, 'b');

template <class T>
task<void> store_result(task<T> t, std::optional<T> &out) {
    out.emplace(co_await std::move(t));
}
inline task<void> mark_done(task<void> t, bool &done) {
    co_await std::move(t);
    done = true;
}

/// Time, executor and line. Declared first, destroyed last.
struct world {
    test::sim_clock clock;
    asio::io_context io{1};
    transport::memory_network line{io.get_executor(), clock, {}};

    runtime run() {
        const executor ex = io.get_executor();
        return {ex, ex, ex, ex, &clock};
    }
    bool until(const std::function<bool()> &condition, duration patience) {
        return test::run_until(io, clock, condition, patience);
    }
    void pass(duration d) { test::run_for(io, clock, d); }
    template <class T>
    T await(task<T> t, duration patience = std::chrono::minutes(5)) {
        std::optional<T> out;
        asio::co_spawn(io, store_result(std::move(t), out), asio::detached);
        const bool returned = until([&] { return out.has_value(); }, patience);
        REPL_ASSERT(returned); // a call never hangs for what a peer does
        return std::move(*out);
    }
    void await(task<void> t, duration patience = std::chrono::minutes(5)) {
        bool done = false;
        asio::co_spawn(io, mark_done(std::move(t), done), asio::detached);
        const bool returned = until([&] { return done; }, patience);
        REPL_ASSERT(returned);
    }
};

/// The fuzzer's bytes; zeroes behind their end.
class input {
  public:
    input(const std::uint8_t *data, std::size_t size) : rest_(data, size) {}
    bool empty() const { return rest_.empty(); }
    /// A number that all bytes together stand for; none is taken.
    std::uint64_t number_of_all() const { return checksum64(std::as_bytes(rest_)); }
    std::uint8_t byte() {
        if (rest_.empty()) {
            return 0;
        }
        const std::uint8_t b = rest_.front();
        rest_ = rest_.subspan(1);
        return b;
    }
    std::uint16_t two() { return static_cast<std::uint16_t>(byte() | byte() << 8); }
    /// Small, near a power of two, near the top, or any.
    std::uint64_t number() {
        const std::uint8_t kind = byte();
        const std::uint64_t near = byte();
        switch (kind % 6) {
        case 0:
            return near;
        case 1:
            return (std::uint64_t{1} << (kind / 6 % 64)) + near - 128;
        case 2:
            return ~std::uint64_t{0} - near;
        case 3:
            return (std::uint64_t{1} << 63) + near - 128;
        case 4:
            return near * block_bytes_;
        default: {
            std::uint64_t any = 0;
            for (int i = 0; i < 8; ++i) {
                any = any << 8 | byte();
            }
            return any;
        }
        }
    }
    byte_vector bytes(std::size_t count) {
        byte_vector out(std::min(count, rest_.size()));
        if (!out.empty()) {
            std::memcpy(out.data(), rest_.data(), out.size());
        }
        rest_ = rest_.subspan(out.size());
        return out;
    }

  private:
    static constexpr std::uint64_t block_bytes_ = 4096;
    std::span<const std::uint8_t> rest_;
};

/// Fills the fields of any message from the input.
class field_chooser {
  public:
    explicit field_chooser(input &in) : in_(in) {}
    template <std::unsigned_integral Int>
    void operator()(Int &value, const wire::field &) {
        value = static_cast<Int>(in_.number());
    }
    void operator()(bool &value, const char *) { value = (in_.byte() & 1) != 0; }
    void operator()(wire::random64 &r) { r.value = in_.number(); }
    void operator()(stream_position &p, const wire::field &) {
        p.stream = stream_id{in_.number()};
        p.interval = interval_id{in_.number()};
    }
    template <std::size_t N>
    void operator()(std::array<std::byte, N> &a) {
        const byte_vector b = in_.bytes(N);
        std::copy(b.begin(), b.end(), a.begin());
    }
    void operator()(std::string &text, const wire::length &) {
        text.assign(as_text(in_.bytes(in_.byte())));
    }
    void operator()(byte_vector &bytes, const wire::length &) {
        bytes = in_.bytes(in_.two() % 1024);
    }
    template <class T>
    void operator()(std::vector<T> &list, const wire::length &) {
        list.resize(in_.byte() % 16);
        for (T &item : list) {
            item.visit(*this);
        }
    }

  private:
    input &in_;
};

template <class Message>
transport::message any_of(input &in) {
    Message m;
    field_chooser choose(in);
    m.visit(choose);
    return envelope_of(m);
}

/// A message of any type with any values, or of bytes that are none.
inline transport::message any_message(input &in) {
    switch (in.byte() % 24) {
    case 0:
        return any_of<wire::hello>(in);
    case 1:
        return any_of<wire::welcome>(in);
    case 2:
        return any_of<wire::refusal>(in);
    case 3:
        return any_of<wire::ack>(in);
    case 4:
        return any_of<wire::begin_stream>(in);
    case 5:
        return any_of<wire::stream_ready>(in);
    case 6:
        return any_of<wire::digest_request>(in);
    case 7:
        return any_of<wire::digest_reply>(in);
    case 8:
        return any_of<wire::loan_request>(in);
    case 9:
        return any_of<wire::loan_reply>(in);
    case 10:
        return any_of<wire::nak>(in);
    case 11:
        return any_of<wire::heartbeat>(in);
    case 12:
        return any_of<wire::verify_result>(in);
    case 13:
        return any_of<wire::notice>(in);
    case 14:
        return any_of<wire::join_request>(in);
    case 15:
        return any_of<wire::join_reply>(in);
    case 16:
        return any_of<wire::extent_request>(in);
    case 17:
        return any_of<wire::extent_reply>(in);
    case 18:
        return any_of<wire::changed_request>(in);
    case 19:
        return any_of<wire::changed_reply>(in);
    case 20:
        return any_of<wire::compare_request>(in);
    case 21:
        return any_of<wire::compare_reply>(in);
    case 22:
        return any_of<wire::site_claim>(in);
    default: {
        transport::message m;
        m.type = static_cast<std::uint16_t>(in.byte() % 32);
        m.payload = buffer::copy_of(in.bytes(in.two() % 512));
        return m;
    }
    }
}

/// Sends and forgets (a peer that doesn't read is another test).
inline task<void> say(std::shared_ptr<transport::link> link, transport::message m) {
    co_await link->send(std::move(m));
}

/// The inputs that something met since it began, in the file that FUZZ_HISTORY names, so that all
/// of them can be run again: for each le32 size and bytes, behind the line "farshore fuzz history".
class history {
  public:
    void forget() {
        if (path_) {
            file_.close();
            file_.open(path_, std::ios::binary | std::ios::trunc);
            file_ << "farshore fuzz history\n";
        }
    }
    void add(const std::uint8_t *data, std::size_t size) {
        if (path_) {
            const auto n = static_cast<std::uint32_t>(size);
            file_.write(reinterpret_cast<const char *>(&n), sizeof n);
            file_.write(reinterpret_cast<const char *>(data), static_cast<std::streamsize>(size));
            file_.flush();
        }
    }

  private:
    const char *path_ = std::getenv("FUZZ_HISTORY");
    std::ofstream file_;
};

} // namespace farshore::fuzz
