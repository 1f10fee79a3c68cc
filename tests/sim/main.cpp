// farshore-sim [--first N] [--seeds N] [--seed N] [--verbose]: runs lives of both daemons from
// seeds. A failure prints the seed; the same seed repeats it. One seed in 50 runs twice and must
// give the same trace.

#include "replicator/base/log.hpp"
#include "tests/sim/two_sites.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

using namespace farshore;

std::uint64_t seeds_with_loans = 0;
std::uint64_t seeds_packed = 0; ///< their history
std::uint64_t seeds_merged = 0;
std::uint64_t bookmarks_judged = 0;  ///< points read under the names of their bookmarks
std::uint64_t rehearsals_judged = 0; ///< found in the record
/// So many seeds have always had some; without any the simulation no longer reaches them.
constexpr std::uint64_t seeds_that_lend = 200;

bool run_seed(std::uint64_t seed, bool verbose, std::uint64_t &trace) {
    try {
        sim::two_sites w({seed, verbose});
        try {
            w.run();
        } catch (const sim::broken_promise &e) {
            std::printf("seed %llu: %s\n  repeat it: farshore-sim --seed %llu --verbose\n",
                        static_cast<unsigned long long>(seed), e.what.c_str(),
                        static_cast<unsigned long long>(seed));
            std::fflush(stdout);
            // The world is in the middle of things: leave it as it is.
            std::_Exit(1);
        }
        trace = w.trace();
        seeds_with_loans += w.lent() ? 1 : 0;
        const auto packed = w.packed();
        seeds_packed += packed.stretches > 0 ? 1 : 0;
        seeds_merged += packed.merged ? 1 : 0;
        bookmarks_judged += w.bookmarks_judged();
        rehearsals_judged += w.rehearsals_judged();
    } catch (const sim::broken_promise &e) {
        std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), e.what.c_str());
        return false;
    }
    return true;
}

} // namespace

int main(int argc, char **argv) {
    std::uint64_t first = 1;
    std::uint64_t count = 100;
    bool verbose = false;
    for (int i = 1; i < argc; ++i) {
        const std::string option = argv[i];
        const auto value = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
        if (option == "--first") {
            first = value();
        } else if (option == "--seeds") {
            count = value();
        } else if (option == "--seed") {
            first = value();
            count = 1;
        } else if (option == "--verbose") {
            verbose = true;
        } else {
            std::fprintf(stderr,
                         "usage: farshore-sim [--first N] [--seeds N] [--seed N] [--verbose]\n");
            return 2;
        }
    }
    static bool print = false;
    print = verbose;
    log::set_sink([](log::level, std::string_view text) {
        if (print) {
            std::fprintf(stderr, "           | %.*s\n", static_cast<int>(text.size()), text.data());
        }
    });
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        std::uint64_t trace = 0;
        if (!run_seed(seed, verbose, trace)) {
            return 1;
        }
        if (seed % 250 == 0) {
            std::printf("%llu seeds\n", static_cast<unsigned long long>(seed + 1 - first));
            std::fflush(stdout);
        }
        if (seed % 50 == 0) {
            std::uint64_t again = 0;
            if (!run_seed(seed, false, again) || again != trace) {
                std::printf("seed %llu is not deterministic\n",
                            static_cast<unsigned long long>(seed));
                return 1;
            }
        }
    }
    std::printf("%llu passed, 0 failed, %llu with loans between groups, %llu with packed history, "
                "%llu of them merged, %llu bookmarks read, %llu rehearsals found\n",
                static_cast<unsigned long long>(count),
                static_cast<unsigned long long>(seeds_with_loans),
                static_cast<unsigned long long>(seeds_packed),
                static_cast<unsigned long long>(seeds_merged),
                static_cast<unsigned long long>(bookmarks_judged),
                static_cast<unsigned long long>(rehearsals_judged));
    if (count >= seeds_that_lend && (seeds_packed == 0 || seeds_merged == 0)) {
        std::printf("no seed packed its history, or none merged it\n");
        return 1;
    }
    if (count >= seeds_that_lend && (bookmarks_judged == 0 || rehearsals_judged == 0)) {
        std::printf("no bookmark was read, or no rehearsal was found\n");
        return 1;
    }
    if (count >= seeds_that_lend && seeds_with_loans == 0) {
        std::printf("no seed had a loan between its groups\n");
        return 1;
    }
    return 0;
}
