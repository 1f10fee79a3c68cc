// Histories of two sites: writes, cuts, kills and power cuts, promotions taken back or made final,
// reversals and switchovers in any order, from a seed, with an oracle of what clients were told.
// Whatever happened: what a site serves is a state that clients had made, never older than what a
// wait told; and in the end, with an operator who does what docs/failover.md says, one site serves
// all of it, the other holds the same, and what was only at one of them is a point there.
//
// Some hundred histories at a time; FARSHORE_HISTORIES=N and FARSHORE_HISTORIES_FIRST=SEED run
// others (CONTRIBUTING.md).

#include "tests/unit/sites/two_way_rig.hpp"

#include <array>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

namespace farshore {
namespace {

constexpr std::uint64_t used_blocks = 12;
constexpr duration short_patience = std::chrono::seconds(4);
constexpr std::size_t steps_min = 3;
constexpr std::size_t steps_max = 12;

using snapshot = std::array<std::uint32_t, used_blocks>;

/// What clients of a site have seen, oldest first, and how far a wait told it to be at the other.
struct told {
    std::vector<snapshot> states{snapshot{}};
    std::size_t floor = 0;
};

enum class place : bool { primary, site };
constexpr std::array places{place::primary, place::site};
constexpr place other(place p) { return p == place::primary ? place::site : place::primary; }

std::uint64_t from_environment(const char *name, std::uint64_t otherwise) {
    const char *text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct broken {
    std::string what;
};

class history {
  public:
    explicit history(std::uint64_t seed) : dice_(seed) {}

    void run() {
        lines_[index(place::primary)] = told{};
        for (std::size_t i = steps_min + roll(steps_max - steps_min + 1); i > 0; --i) {
            step();
            if (roll(2) == 0) {
                pass(std::chrono::milliseconds(roll(3000)));
            }
        }
        end();
    }
    const std::string &story() const { return story_; }
    /// How often each thing was done.
    const std::map<std::string, std::size_t> &done() const { return done_; }

  private:
    static std::size_t index(place p) { return p == place::site ? 1 : 0; }
    static const char *name_of(place p) { return p == place::site ? "site" : "primary"; }
    std::uint64_t roll(std::uint64_t n) { return dice_() % n; }
    void say(const std::string &what) {
        story_ += what + "\n";
        ++done_[what];
    }
    void pass(duration d) {
        t_.w.run_until([] { return false; }, d);
    }
    sender *half(place p) {
        if (p == place::site) {
            return t_.site.served->half("shop");
        }
        sender *of = t_.primary.turned->has("shop") ? t_.primary.turned->served().half("shop")
                                                    : &*t_.primary.engine;
        return of != nullptr && of->party("shop") != nullptr ? of : nullptr;
    }
    std::shared_ptr<block_device> device(place p) {
        sender *of = half(p);
        return of != nullptr ? sender_access::device(*of, "shop", volume_index{0}) : nullptr;
    }
    std::optional<snapshot> read(block_device &from) {
        snapshot s{};
        for (std::uint64_t b = 0; b < used_blocks; ++b) {
            byte_vector block(block_bytes);
            if (!from.read((first_block + b) * block_bytes, block)) {
                return std::nullopt;
            }
            std::memcpy(&s[b], block.data(), sizeof s[b]);
        }
        return s;
    }
    /// What clients are shown there; nothing: it does not serve.
    std::optional<snapshot> served_at(place p) {
        const auto of = device(p);
        return of ? read(*of) : std::nullopt;
    }

    /// The clients' story that leads to this content, which no wait told to be passed: of a site
    /// that serves now, or served.
    told story_to(const snapshot &shown, const char *what) const {
        std::vector<told> all = past_;
        for (const auto &line : lines_) {
            if (line) {
                all.push_back(*line);
            }
        }
        for (std::size_t i = all.size(); i > 0; --i) {
            const told &line = all[i - 1];
            for (std::size_t k = line.states.size(); k > line.floor; --k) {
                if (line.states[k - 1] == shown) {
                    return {
                        {line.states.begin(), line.states.begin() + static_cast<std::ptrdiff_t>(k)},
                        std::min(line.floor, k - 1)};
                }
            }
        }
        throw broken{std::string(what) + " what clients never saw, or were told was passed"};
    }
    /// Of a site that serves, whoever made it do so.
    told &line_of(place p, const snapshot &shown) {
        auto &mine = lines_[index(p)];
        if (!mine) { // a role that was handed over, of which nobody was told yet
            mine = story_to(shown, "handed over is");
            auto &theirs = lines_[index(other(p))];
            if (theirs && theirs->states.back() == shown && !served_at(other(p))) {
                theirs.reset();
            }
        }
        if (mine->states.back() != shown) {
            throw broken{std::string(name_of(p)) + " does not serve what its clients wrote"};
        }
        return *mine;
    }

    /// Mostly one where the command does something.
    place some_place(bool serving) {
        for (const place p : places) {
            if (served_at(p).has_value() == serving && roll(4) != 0) {
                return p;
            }
        }
        return places[roll(2)];
    }
    void step() {
        const bool of_follower = roll(3) == 0;
        const place p = some_place(!of_follower);
        switch (roll(13)) {
        case 0:
        case 1:
        case 2:
            write(p);
            break;
        case 3:
            wait(p);
            break;
        case 4:
            say("cut");
            t_.w.line.cut(std::chrono::seconds(1));
            break;
        case 5:
            say("heal");
            t_.w.line.heal();
            break;
        case 6:
            restart(p);
            break;
        case 7:
        case 8:
            promote(some_place(false));
            break;
        case 9:
            discard(p);
            break;
        case 10:
            reverse(p, false);
            break;
        default:
            switch_over(p);
            break;
        }
    }

    void write(place p) {
        const auto shown = served_at(p);
        if (!shown) {
            return;
        }
        told &line = line_of(p, *shown);
        for (std::uint64_t n = 1 + roll(3); n > 0; --n) {
            snapshot next = line.states.back();
            const std::uint64_t b = roll(used_blocks);
            next[b] = ++written_;
            byte_vector block(block_bytes);
            std::memcpy(block.data(), &next[b], sizeof next[b]);
            if (!device(p)->write((first_block + b) * block_bytes, block, true)) {
                throw broken{"a client's write fails where it is served"};
            }
            line.states.push_back(next);
        }
        say(std::string("written at ") + name_of(p));
    }
    void wait(place p) {
        const auto shown = served_at(p);
        if (!shown) {
            return;
        }
        told &line = line_of(p, *shown);
        const std::size_t newest = line.states.size() - 1;
        if (t_.w.await(half(p)->wait("shop", false, short_patience))) {
            lines_[index(p)]->floor = newest;
            say(std::string("waited at ") + name_of(p));
        }
    }
    void restart(place p) {
        const bool power = roll(2) == 0;
        say(std::string(power ? "power cut of " : "kill of ") + name_of(p));
        if (p == place::site) {
            power ? t_.site.cut_power(dice_()) : t_.site.kill();
            t_.site.start();
        } else {
            power ? t_.primary.cut_power(dice_()) : t_.primary.kill();
            t_.primary.start();
        }
    }
    served_groups &served(place p) {
        return p == place::site ? *t_.site.served : t_.primary.turned->served();
    }
    void promote(place p) {
        if (p == place::primary && !t_.primary.turned->has("shop")) {
            if (!t_.w.await(t_.primary.engine->take_role_back("shop"))) {
                return; // its role was not in doubt
            }
            say("primary takes its role back");
            took_back(p);
            return;
        }
        const auto done = t_.w.await(served(p).promote("shop", "", roll(2) == 0, {}));
        if (!done && !is(done.error(), errc::dead)) {
            return;
        }
        say(std::string("promoted: ") + name_of(p));
        if (!done) { // it says that it is, and is to be served by itself
            t_.w.until([&] { return served_at(p).has_value(); });
        }
        const auto shown = served_at(p);
        if (!shown && !done) {
            return; // it was not open, and said that
        }
        if (!shown) {
            throw broken{"promoted, and not served"};
        }
        remember();
        lines_[index(p)] = story_to(*shown, "promoted is");
        lines_[index(p)]->floor = lines_[index(p)]->states.size() - 1;
    }
    void remember() {
        for (const auto &line : lines_) {
            if (line) {
                past_.push_back(*line);
            }
        }
    }
    /// A site that had offered its role serves again; the other one may, too.
    void took_back(place p) {
        const auto shown = served_at(p);
        if (!shown) {
            throw broken{"its role was taken back, and it does not serve"};
        }
        remember();
        line_of(p, *shown);
    }
    void discard(place p) {
        if (p == place::primary && !t_.primary.turned->has("shop")) {
            return;
        }
        const auto alone = lines_[index(p)];
        if (t_.w.await(served(p).discard("shop"))) {
            say(std::string("discarded at ") + name_of(p));
            gave_up(p, alone);
        }
    }
    bool reverse(place p, bool keep_there) {
        const auto alone = lines_[index(p)];
        const auto done =
            t_.w.await(p == place::site ? t_.site.served->reverse("shop", keep_there)
                                        : t_.primary.turned->reverse("shop", keep_there));
        if (done) {
            say(std::string("reversed: ") + name_of(p));
            gave_up(p, alone);
        }
        return done.has_value();
    }
    void gave_up(place p, const std::optional<told> &alone) {
        remember();
        if (alone) {
            kept_[index(p)].insert(alone->states.back());
        }
        lines_[index(p)].reset();
    }
    void switch_over(place p) {
        const bool serves = served_at(p).has_value();
        if (serves) {
            line_of(p, *served_at(p));
        }
        std::optional<result<std::vector<switchover_outcome>>> out;
        asio::co_spawn(t_.w.io,
                       store_result(p == place::site
                                        ? t_.site.served->switchover({"shop"}, short_patience)
                                        : t_.primary.turned->switchover({"shop"}, short_patience),
                                    out),
                       asio::detached);
        if (serves && roll(2) == 0) {
            pass(std::chrono::milliseconds(roll(400)));
            if (!out && roll(2) == 0) {
                say("cut in a switchover");
                t_.w.line.cut(std::chrono::seconds(1));
            } else if (!out) {
                restart(places[roll(2)]);
            }
        }
        if (!t_.w.run_until([&] { return out.has_value(); }, std::chrono::minutes(2))) {
            throw broken{"a switchover does not end"};
        }
        if (*out) {
            say(std::string("switched over from ") + name_of(p));
            if (!lines_[index(p)]) {
                throw broken{"a site handed over that did not serve"};
            }
            remember();
            if (!lines_[index(other(p))]) {
                lines_[index(other(p))] = std::move(lines_[index(p)]);
            }
            lines_[index(p)].reset();
        }
    }

    // ---- the end
    bool follows(place p) {
        return p == place::site ? t_.site.status().state == receiver_state::following &&
                                      t_.site.status().connected
                                : t_.primary.status().state == sender_state::following &&
                                      t_.primary.status().connected;
    }
    /// An operator for whom one site's content counts.
    void end() {
        say("the end");
        t_.w.line.heal();
        const place loser = places[roll(2)];
        std::optional<place> serving;
        for (int round = 0; round < 40 && !serving; ++round) {
            pass(std::chrono::seconds(3));
            for (const place p : places) {
                if (served_at(p) && follows(other(p))) {
                    serving = p;
                }
            }
            if (serving || round < 3) {
                continue;
            }
            static_cast<void>(reverse(loser, false) || reverse(other(loser), false) ||
                              reverse(loser, true) || reverse(other(loser), true));
            if (round > 20) {
                promote(loser);
            }
        }
        if (!serving) {
            throw broken{"no site serves in the end, or nobody follows: " +
                         t_.primary.status().error.value_or("-") + " / " +
                         t_.site.status().error.value_or("-")};
        }
        const auto shown = served_at(*serving);
        const told &line = line_of(*serving, *shown);
        if (!t_.w.await(half(*serving)->wait("shop", false, std::chrono::minutes(2)))) {
            throw broken{"the end is not reached by the other site"};
        }
        if (!t_.equal()) {
            throw broken{"the sites differ in the end"};
        }
        if (served_at(*serving) != line.states.back()) {
            throw broken{"the content changed as the other one followed"};
        }
        check_kept();
    }
    /// What a site alone had, as it gave that up, is a point there.
    void check_kept() {
        for (const place p : places) {
            std::set<snapshot> left = kept_[index(p)];
            if (left.empty()) {
                continue;
            }
            receiver &copies = p == place::site ? *t_.site.engine : t_.primary.turned->copies();
            const auto points = t_.w.await(copies.points("shop"));
            for (const point_info &point : points.value()) {
                auto devices = t_.w.await(receiver_access::open_devices(copies, "shop", point.id));
                const auto had = devices ? read(*(*devices)[0]) : std::nullopt;
                if (had) {
                    left.erase(*had);
                }
            }
            if (!left.empty()) {
                throw broken{std::string("what ") + name_of(p) + " alone had is no point there"};
            }
        }
    }

    static constexpr std::uint64_t first_block = 100; ///< the rig has its own before
    std::mt19937_64 dice_;
    two_ways t_;
    std::array<std::optional<told>, 2> lines_; ///< of sites that serve, as far as it is known
    std::vector<told> past_;                   ///< as they were when a role changed
    std::array<std::set<snapshot>, 2> kept_;
    std::uint32_t written_ = 0;
    std::string story_;
    std::map<std::string, std::size_t> done_;
};

} // namespace

TEST_SUITE("sites") {
    TEST_CASE("histories: of two sites, and what was told holds") {
        const std::uint64_t first = from_environment("FARSHORE_HISTORIES_FIRST", 1);
        const std::uint64_t count = from_environment("FARSHORE_HISTORIES", 150);
        std::map<std::string, std::size_t> done;
        for (std::uint64_t seed = first; seed < first + count; ++seed) {
            CAPTURE(seed);
            if (std::getenv("FARSHORE_HISTORIES_LOG") != nullptr) {
                log::set_sink([](log::level, std::string_view text) {
                    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
                });
            }
            history h(seed);
            try {
                h.run();
            } catch (const broken &b) {
                FAIL_CHECK(b.what << "\n" << h.story());
            }
            for (const auto &[what, times] : h.done()) {
                done[what] += times;
            }
        }
        std::string all;
        for (const auto &[what, times] : done) {
            all += what + ": " + std::to_string(times) + "\n";
        }
        INFO(all);
        for (const char *what : {"promoted: site", "discarded at site", "reversed: primary",
                                 "switched over from primary", "switched over from site",
                                 "cut in a switchover", "waited at primary"}) {
            CAPTURE(what);
            CHECK((count < 100 || done[what] > 0)); // else nothing was tried
        }
        if (std::getenv("FARSHORE_HISTORIES") != nullptr) {
            MESSAGE(all);
        }
    }
}

} // namespace farshore
