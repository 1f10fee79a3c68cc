// farshore-wan: a wide-area line between two network namespaces, in user space.
//
// Why not tc netem: many kernels lack it, and cuts, half-open lines and exact byte counters are not
// its business. Each namespace gets a TUN device; packets read from one are delayed, dropped,
// queued (line.hpp) and written to the other.
//
// CPU economy: while packets are in flight the loop runs at most once a tick (0.5 ms), reading and
// writing all there is, so a 100 Mbit/s stream costs about one wake-up for four packets and the
// emulated times are late by at most a tick on each side. Without shaping packets pass at once.
//
// One thread. Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN); exits 77 without, 2 on usage.

#include "bench/wan/control_socket.hpp"
#include "bench/wan/line.hpp"
#include "bench/wan/tun.hpp"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <memory>
#include <poll.h>
#include <sstream>
#include <thread>
#include <unistd.h>

namespace farshore::wan {
namespace {

constexpr auto tick = std::chrono::microseconds(500);
constexpr std::size_t packet_bytes_max = 2048;
constexpr int batch_max = 512; // packets read from one side before the other side gets its turn

volatile std::sig_atomic_t stop_asked = 0;

struct program_options {
    tun_options a{.netns = "", .device = "wan-a", .address = "10.199.0.1"};
    tun_options b{.netns = "", .device = "wan-b", .address = "10.199.0.2"};
    line_settings settings;
    std::uint64_t seed = 1;
    std::string control;
};

const char *usage =
    "usage: farshore-wan --a NETNS --b NETNS [--a-address IP] [--b-address IP] [--a-device NAME]\n"
    "         [--b-device NAME] [--mtu BYTES] [--control SOCKET] [--seed N]\n"
    "         [--delay MS] [--jitter MS] [--rate MBIT] [--queue MS] [--loss PERCENT]\n"
    "         [--reorder PERCENT] [--reorder-delay MS]\n"
    "Joins two network namespaces by a line with the given one-way delay, rate, loss. Commands, "
    "one\n"
    "a line on the control socket: set [ab|ba] NAME VALUE, cut, half-open [ab|ba], heal, stats, "
    "quit\n";

/// The bytes of all packets in flight.
class packet_pool {
  public:
    std::uint32_t take() {
        if (free_.empty()) {
            slots_.push_back(std::make_unique<slot>());
            return static_cast<std::uint32_t>(slots_.size() - 1);
        }
        const auto index = free_.back();
        free_.pop_back();
        return index;
    }
    void give_back(std::uint32_t index) { free_.push_back(index); }
    unsigned char *bytes(std::uint32_t index) { return slots_[index]->data(); }

  private:
    using slot = std::array<unsigned char, packet_bytes_max>;
    std::vector<std::unique_ptr<slot>> slots_;
    std::vector<std::uint32_t> free_;
};

class emulator {
  public:
    emulator(unique_fd a, unique_fd b, const program_options &options)
        : tuns_{std::move(a), std::move(b)}, lines_{line(options.seed), line(~options.seed)} {
        for (auto &l : lines_) {
            l.settings() = options.settings;
        }
        ::inet_pton(AF_INET, options.b.address.c_str(), &far_address_[0]);
        ::inet_pton(AF_INET, options.a.address.c_str(), &far_address_[1]);
    }

    void run(control_socket *control);
    std::string command(const std::string &text);

  private:
    bool read_side(int side);
    void write_due(int side, moment now);
    void answer_unreachable(int side, std::uint32_t slot, std::uint32_t length);
    span_of_time time_to_wait() const;
    std::string set(std::istringstream &words);
    std::string stats() const;

    std::array<unique_fd, 2> tuns_;
    std::array<line, 2> lines_; ///< [0] from a to b, [1] from b to a
    std::array<std::uint32_t, 2> far_address_{};
    packet_pool pool_;
    moment last_answer_{};
    std::uint64_t write_errors_ = 0;
};

bool emulator::read_side(int side) {
    bool any = false;
    const auto now = std::chrono::steady_clock::now();
    for (int i = 0; i < batch_max; ++i) {
        const auto slot = pool_.take();
        const ssize_t n = ::read(tuns_[side].get(), pool_.bytes(slot), packet_bytes_max);
        if (n <= 0) {
            pool_.give_back(slot);
            break;
        }
        any = true;
        const auto length = static_cast<std::uint32_t>(n);
        if (!lines_[side].accept(slot, length, now)) {
            answer_unreachable(side, slot, length);
            pool_.give_back(slot);
        }
    }
    return any;
}

/// What a router says when its line is cut; at most 100 a second, as routers limit it too.
void emulator::answer_unreachable(int side, std::uint32_t slot, std::uint32_t length) {
    const auto now = std::chrono::steady_clock::now();
    if (lines_[side].fate() != line_fate::unreachable ||
        now - last_answer_ < std::chrono::milliseconds(10)) {
        return;
    }
    std::array<unsigned char, 128> reply{};
    const auto bytes =
        make_unreachable(pool_.bytes(slot), length, far_address_[side], reply.data());
    if (bytes != 0) {
        last_answer_ = now;
        write_errors_ += ::write(tuns_[side].get(), reply.data(), bytes) < 0 ? 1 : 0;
    }
}

void emulator::write_due(int side, moment now) {
    while (const auto arrived = lines_[side].take_due(now)) {
        const auto &packet = arrived->packet;
        if (arrived->deliver) {
            const ssize_t n =
                ::write(tuns_[1 - side].get(), pool_.bytes(packet.slot), packet.length);
            write_errors_ += n < 0 ? 1 : 0;
        }
        pool_.give_back(packet.slot);
    }
}

span_of_time emulator::time_to_wait() const {
    auto wait = span_of_time(std::chrono::hours(1));
    const auto now = std::chrono::steady_clock::now();
    for (const auto &l : lines_) {
        if (const auto due = l.next_due()) {
            wait = std::min(wait, std::max(span_of_time(0), *due - now));
        }
    }
    return wait;
}

void emulator::run(control_socket *control) {
    std::vector<pollfd> polled;
    while (stop_asked == 0) {
        polled.assign({{tuns_[0].get(), POLLIN, 0}, {tuns_[1].get(), POLLIN, 0}});
        if (control != nullptr) {
            control->add_to(polled);
        }
        const auto wait = time_to_wait();
        const timespec limit{static_cast<time_t>(wait.count() / 1'000'000'000),
                             static_cast<long>(wait.count() % 1'000'000'000)};
        ::ppoll(polled.data(), polled.size(), &limit, nullptr);
        bool any = false;
        for (int side : {0, 1}) {
            any |= read_side(side);
        }
        const auto now = std::chrono::steady_clock::now();
        for (int side : {0, 1}) {
            write_due(side, now);
        }
        for (std::size_t i = 2; i < polled.size(); ++i) {
            if (polled[i].revents != 0) {
                control->serve([this](const std::string &text) { return command(text); });
                break;
            }
        }
        if ((any || lines_[0].in_flight() + lines_[1].in_flight() > 0) &&
            (lines_[0].settings().shaped() || lines_[1].settings().shaped())) {
            std::this_thread::sleep_for(tick);
        }
    }
}

std::string emulator::set(std::istringstream &words) {
    std::string name;
    words >> name;
    const bool only_ab = name == "ab";
    const bool only_ba = name == "ba";
    if (only_ab || only_ba) {
        words >> name;
    }
    double value = -1;
    words >> value;
    if (!words || value < 0 || line_settings{}.find(name) == nullptr) {
        return R"({"error": "set [ab|ba] delay|jitter|rate|queue|loss|reorder|reorder-delay )"
               R"(VALUE"})";
    }
    for (int side : {0, 1}) {
        if (!(side == 0 ? only_ba : only_ab)) {
            *lines_[side].settings().find(name) = value;
        }
    }
    return R"({"ok": true})";
}

std::string emulator::stats() const {
    const auto one = [](const line &l) {
        const auto &c = l.counters();
        const auto &s = l.settings();
        return fmt::format(
            R"({{"packets_in": {}, "bytes_in": {}, "packets_out": {}, "bytes_out": {}, )"
            R"("lost": {}, "queue_dropped": {}, "cut_dropped": {}, "reordered": {}, )"
            R"("in_flight": {}, "delay_ms": {}, "rate_mbit": {}, "loss_percent": {}, "up": {}}})",
            c.packets_in, c.bytes_in, c.packets_out, c.bytes_out, c.lost, c.queue_dropped,
            c.cut_dropped, c.reordered, l.in_flight(), s.delay_ms, s.rate_mbit, s.loss_percent,
            l.fate() == line_fate::carry);
    };
    return fmt::format(R"({{"ab": {}, "ba": {}, "write_errors": {}}})", one(lines_[0]),
                       one(lines_[1]), write_errors_);
}

std::string emulator::command(const std::string &text) {
    std::istringstream words(text);
    std::string verb;
    words >> verb;
    if (verb == "set") {
        return set(words);
    }
    if (verb == "stats") {
        return stats();
    }
    if (verb == "quit") {
        stop_asked = 1;
        return R"({"ok": true})";
    }
    std::string which;
    words >> which;
    const bool known = verb == "cut" || verb == "half-open" || verb == "heal";
    if (!known || (!which.empty() && which != "ab" && which != "ba")) {
        return R"({"error": "commands: set, cut, half-open, heal (each [ab|ba]), stats, quit"})";
    }
    const auto fate = verb == "cut"    ? line_fate::unreachable
                      : verb == "heal" ? line_fate::carry
                                       : line_fate::swallow;
    if (which != "ba") {
        lines_[0].set_fate(fate);
    }
    if (which != "ab") {
        lines_[1].set_fate(fate);
    }
    return R"({"ok": true})";
}

template <class Number>
bool parse_number(const std::string &text, Number &value) {
    const auto end = text.data() + text.size();
    const auto [at, code] = std::from_chars(text.data(), end, value);
    return code == std::errc() && at == end && value >= 0;
}

bool parse_option(program_options &o, const std::string &name, const std::string &value) {
    const std::pair<std::string_view, std::string *> texts[] = {
        {"--a", &o.a.netns},           {"--b", &o.b.netns},         {"--a-address", &o.a.address},
        {"--b-address", &o.b.address}, {"--a-device", &o.a.device}, {"--b-device", &o.b.device},
        {"--control", &o.control},
    };
    for (const auto &[key, target] : texts) {
        if (key == name) {
            *target = value;
            return true;
        }
    }
    if (name == "--seed") {
        return parse_number(value, o.seed);
    }
    if (name == "--mtu") {
        const bool good = parse_number(value, o.a.mtu) && o.a.mtu >= 576 &&
                          o.a.mtu <= static_cast<int>(packet_bytes_max);
        o.b.mtu = o.a.mtu;
        return good;
    }
    double *setting = name.starts_with("--") ? o.settings.find(name.substr(2)) : nullptr;
    return setting != nullptr && parse_number(value, *setting);
}

int run(const program_options &options) {
    auto a = open_tun(options.a);
    auto b = a ? open_tun(options.b) : result<unique_fd>();
    for (const auto *side : {&a, &b}) {
        if (!*side) {
            const auto &e = side->error();
            fmt::print(stderr, "farshore-wan: {}\n", e.text());
            return is_errno(e, EPERM) || is_errno(e, EACCES) ? 77 : 1;
        }
    }
    emulator wan(std::move(*a), std::move(*b), options);
    std::unique_ptr<control_socket> control;
    if (!options.control.empty()) {
        auto made = control_socket::listen(options.control);
        if (!made) {
            fmt::print(stderr, "farshore-wan: {}\n", made.error().text());
            return 1;
        }
        control = std::make_unique<control_socket>(std::move(*made));
    }
    struct sigaction action{};
    action.sa_handler = [](int) { stop_asked = 1; };
    ::sigaction(SIGTERM, &action, nullptr);
    ::sigaction(SIGINT, &action, nullptr);
    fmt::print("ready\n");
    std::fflush(stdout);
    wan.run(control.get());
    return 0;
}

} // namespace
} // namespace farshore::wan

int main(int argc, char **argv) {
    farshore::wan::program_options options;
    const std::vector<std::string> words(argv + 1, argv + argc);
    for (std::size_t i = 0; i < words.size(); i += 2) {
        if (i + 1 >= words.size() ||
            !farshore::wan::parse_option(options, words[i], words[i + 1])) {
            fmt::print(stderr, "farshore-wan: bad option {}\n{}", words[i], farshore::wan::usage);
            return words[i] == "--help" ? 0 : 2;
        }
    }
    return farshore::wan::run(options);
}
