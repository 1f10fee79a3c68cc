// Runs a fuzz target without libFuzzer: every file of the given corpus folders, then mutations of
// them (and of nothing) drawn from a seed, until the time is over. A smoke test for CI, not a
// search.
//
//   fuzz_smoke_NAME [--seconds S | --runs N] [--seed N] [--length N] FOLDER-OR-FILE...
//                                              --seconds 0: only these; --length: of 16 mutations 15
//                                              are a piece of at most N bytes
//   fuzz_smoke_NAME --unpack FOLDER FOLDER-OR-FILE...               nothing is run: each input becomes a
//                                                                   file there, as libFuzzer takes them
//
// The seed is printed first; the same seed gives the same inputs. With FUZZ_KEEP=1 in the
// environment each input is written to fuzz_smoke_last_input before it is run, so that the one that
// crashed is there (slow).

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size);

namespace {

using input = std::vector<std::uint8_t>;
constexpr std::size_t input_bytes_max = 256 * 1024;
constexpr std::uint64_t runs_min = 2000; ///< also on a slow machine under sanitizers

constexpr std::uint64_t told_every = 100'000;

std::uint64_t run_number = 0;
std::uint64_t seed = 1;

void run_one(const input &bytes) {
    static const bool keep = std::getenv("FUZZ_KEEP") != nullptr;
    ++run_number;
    if (keep) {
        std::ofstream file("fuzz_smoke_last_input", std::ios::binary);
        file.write(reinterpret_cast<const char *>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
    }
    // An exact heap copy: a read past the end is one past an allocation, which sanitizers see.
    const input exact(bytes);
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

/// The inputs of a file that a session target wrote (FUZZ_HISTORY, session_world.hpp), in their
/// order.
bool split_history(const input &whole, std::vector<input> &corpus) {
    static constexpr std::string_view title = "farshore fuzz history\n";
    if (whole.size() < title.size() || !std::equal(title.begin(), title.end(), whole.begin())) {
        return false;
    }
    for (std::size_t at = title.size(); at + 4 <= whole.size();) {
        std::uint32_t size = 0;
        std::memcpy(&size, whole.data() + at, sizeof size);
        at += sizeof size;
        const auto end = at + std::min<std::size_t>(size, whole.size() - at);
        corpus.emplace_back(whole.begin() + static_cast<std::ptrdiff_t>(at),
                            whole.begin() + static_cast<std::ptrdiff_t>(end));
        at = end;
    }
    return true;
}

std::vector<input> load_corpus(const std::vector<std::string> &places) {
    std::vector<std::filesystem::path> paths;
    for (const auto &place : places) {
        if (std::filesystem::is_directory(place)) {
            for (const auto &entry : std::filesystem::recursive_directory_iterator(place)) {
                if (entry.is_regular_file()) {
                    paths.push_back(entry.path());
                }
            }
        } else if (std::filesystem::exists(place)) {
            paths.emplace_back(place);
        }
    }
    std::sort(paths.begin(), paths.end()); // the same order everywhere, so that seeds replay
    std::vector<input> corpus;
    for (const auto &path : paths) {
        std::ifstream file(path, std::ios::binary);
        input whole((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        if (!split_history(whole, corpus)) {
            corpus.push_back(std::move(whole));
        }
    }
    return corpus;
}

void unpack(const std::vector<input> &corpus, const std::string &folder) {
    std::filesystem::create_directories(folder);
    for (std::size_t i = 0; i < corpus.size(); ++i) {
        std::ofstream file(std::filesystem::path(folder) / std::to_string(i), std::ios::binary);
        file.write(reinterpret_cast<const char *>(corpus[i].data()),
                   static_cast<std::streamsize>(corpus[i].size()));
    }
}

class mutator {
  public:
    mutator(std::uint64_t from, std::size_t length) : random_(from), length_(length) {}

    input mutate(const std::vector<input> &corpus) {
        input bytes = corpus[below(corpus.size())];
        for (std::size_t i = 0, n = 1 + below(4); i < n; ++i) {
            change(bytes, corpus);
        }
        if (bytes.size() > input_bytes_max) {
            bytes.resize(input_bytes_max);
        }
        if (bytes.size() > length_ && below(16) != 0) {
            const auto from = static_cast<std::ptrdiff_t>(below(bytes.size() - length_ + 1));
            bytes.erase(bytes.begin(), bytes.begin() + from);
            bytes.resize(length_);
        }
        return bytes;
    }

  private:
    std::size_t below(std::size_t limit) { return random_() % limit; }

    void change(input &bytes, const std::vector<input> &corpus) {
        const auto choice = below(7);
        if (bytes.empty() || choice == 0) {
            const auto count = 1 + below(64);
            const auto at = static_cast<std::ptrdiff_t>(below(bytes.size() + 1));
            bytes.insert(bytes.begin() + at, count, static_cast<std::uint8_t>(random_()));
        } else if (choice == 1) {
            bytes[below(bytes.size())] ^= static_cast<std::uint8_t>(1U << below(8));
        } else if (choice == 2) {
            bytes[below(bytes.size())] = static_cast<std::uint8_t>(random_());
        } else if (choice == 3) {
            bytes.resize(below(bytes.size() + 1));
        } else if (choice == 4) {
            edge_value(bytes);
        } else if (choice == 5) {
            const auto from = below(bytes.size());
            const auto count = std::min(bytes.size() - from, below(32) + 1);
            bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                        bytes.begin() + static_cast<std::ptrdiff_t>(from + count));
        } else {
            const auto &other = corpus[below(corpus.size())];
            bytes.insert(bytes.end(), other.begin(), other.end());
        }
    }

    /// Overwrites an integer by one that lengths and counts go wrong with.
    void edge_value(input &bytes) {
        static constexpr std::uint64_t edges[] = {0,      1,          0x7f,       0xff,
                                                  0x7fff, 0xffff,     0x7fffffff, 0xffffffff,
                                                  0x1000, 1ULL << 50, 1ULL << 63, ~0ULL};
        const auto value = edges[below(std::size(edges))];
        const auto width = std::size_t{1} << below(4);
        const auto at = below(bytes.size());
        for (std::size_t i = 0; i < width && at + i < bytes.size(); ++i) {
            bytes[at + i] = static_cast<std::uint8_t>(value >> (8 * i));
        }
    }

    std::mt19937_64 random_;
    std::size_t length_;
};

} // namespace

int main(int argc, char **argv) {
    double seconds = 3;
    std::uint64_t runs_wanted = 0; ///< 0: as many as the time allows
    std::size_t length = input_bytes_max;
    std::string unpacked;
    std::vector<std::string> places;
    const std::vector<std::string> words(argv + 1, argv + argc);
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (words[i] == "--seconds" && i + 1 < words.size()) {
            seconds = std::stod(words[++i]);
        } else if (words[i] == "--runs" && i + 1 < words.size()) {
            runs_wanted = std::stoull(words[++i]);
        } else if (words[i] == "--seed" && i + 1 < words.size()) {
            seed = std::stoull(words[++i]);
        } else if (words[i] == "--length" && i + 1 < words.size()) {
            length = std::stoull(words[++i]);
        } else if (words[i] == "--unpack" && i + 1 < words.size()) {
            unpacked = words[++i];
        } else {
            places.push_back(words[i]);
        }
    }
    auto corpus = load_corpus(places);
    if (!unpacked.empty()) {
        unpack(corpus, unpacked);
        return 0;
    }
    std::printf("seed %llu, %zu inputs in the corpus\n", static_cast<unsigned long long>(seed),
                corpus.size());
    std::fflush(stdout);
    for (const auto &bytes : corpus) {
        run_one(bytes);
    }
    if (seconds == 0) { // only what was given
        return 0;
    }
    corpus.emplace_back();
    mutator chance(seed, length);
    const auto start = std::chrono::steady_clock::now();
    const auto elapsed = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    // At most ten times the wanted time, whatever the number of runs.
    const auto goes_on = [&] {
        return runs_wanted > 0
                   ? run_number < runs_wanted
                   : elapsed() < seconds || (run_number < runs_min && elapsed() < 10 * seconds);
    };
    while (goes_on()) {
        run_one(chance.mutate(corpus));
        if (run_number % told_every == 0) {
            std::printf("%llu runs, %.0f s\n", static_cast<unsigned long long>(run_number),
                        elapsed());
            std::fflush(stdout);
        }
    }
    std::printf("%llu runs in %.1f s\n", static_cast<unsigned long long>(run_number), elapsed());
    return 0;
}
