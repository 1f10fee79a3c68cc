// Codec throughput on one core, in CPU time: MB/s of block content, and what 1 MiB takes, by kind
// of data and level.
//
//   codec_bench [--seconds S] [--level L]...      default: 0.4 s a cell, levels 1 3 7
//
// Data is made from fixed seeds. "half": each block half random, half constant. "mixed": every
// other block random, the rest text. "pages": 16 KiB database pages of which a header and a few
// short rows changed since the last barrier. "text": words with a skewed frequency. Content is 32
// MiB in intervals of 8 MiB, so that caches don't flatter.

#include "dedupe/codec.hpp"
#include "replicator/base/geometry.hpp"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <time.h>

using namespace farshore;

namespace {

constexpr std::size_t content_bytes = 32 * limits::MiB;
constexpr std::size_t interval_bytes = 8 * limits::MiB;
using random_source = std::mt19937_64;

struct data_set {
    const char *name;
    byte_vector before; ///< empty: unknown
    byte_vector after;
};

void fill_random(bytes_span out, random_source &random) {
    for (std::size_t i = 0; i + 8 <= out.size(); i += 8) {
        const std::uint64_t value = random();
        std::memcpy(out.data() + i, &value, 8);
    }
}

void fill_text(bytes_span out, random_source &random) {
    std::vector<std::string> words;
    for (int i = 0; i < 3000; ++i) {
        std::string w;
        const auto length = 3 + random() % 7;
        for (std::size_t k = 0; k < length; ++k) {
            w += static_cast<char>('a' + (random() % 26) * (random() % 26) / 25);
        }
        words.push_back(w + " ");
    }
    std::size_t at = 0;
    while (at < out.size()) {
        const double u = static_cast<double>(random() >> 11) * 0x1p-53;
        const std::string &w = words[static_cast<std::size_t>(u * u * u * 3000)];
        const std::size_t n = std::min(w.size(), out.size() - at);
        std::memcpy(out.data() + at, w.data(), n);
        at += n;
    }
}

data_set zeros() { return {"zeros", {}, byte_vector(content_bytes)}; }
data_set noise() {
    random_source random(1);
    data_set d{"random", {}, byte_vector(content_bytes)};
    fill_random(d.after, random);
    return d;
}
data_set half() {
    random_source random(2);
    data_set d{"half", {}, byte_vector(content_bytes, std::byte{'A'})};
    for (std::size_t at = 0; at < content_bytes; at += block_bytes) {
        fill_random(bytes_span(d.after).subspan(at, block_bytes / 2), random);
    }
    return d;
}
data_set text() {
    random_source random(3);
    data_set d{"text", {}, byte_vector(content_bytes)};
    fill_text(d.after, random);
    return d;
}
data_set mixed() {
    data_set d = text();
    d.name = "mixed";
    random_source random(4);
    for (std::size_t at = 0; at < content_bytes; at += 2 * block_bytes) {
        fill_random(bytes_span(d.after).subspan(at, block_bytes), random);
    }
    return d;
}
data_set pages() {
    data_set d = mixed();
    d.name = "pages";
    d.before = d.after;
    random_source random(5);
    constexpr std::size_t page = 4 * block_bytes;
    for (std::size_t at = 0; at < content_bytes; at += page) {
        fill_random(bytes_span(d.after).subspan(at + 8, 8), random); // log position
        for (std::size_t row = 0; row < 5; ++row) {
            const std::size_t length = 8 * (1 + random() % 10);
            const std::size_t place = random() % (page - length);
            fill_random(bytes_span(d.after).subspan(at + place, length), random);
        }
    }
    return d;
}
data_set rewritten() {
    data_set d = noise();
    d.name = "rewritten"; // a base that shares nothing: the delta search is lost time
    d.before = text().after;
    return d;
}

std::vector<block_change> interval_of(const data_set &d, std::size_t start) {
    std::vector<block_change> changes;
    for (std::size_t at = start; at < start + interval_bytes; at += block_bytes) {
        block_change c;
        c.block = block_index{at / block_bytes};
        c.content = bytes_view(d.after).subspan(at, block_bytes);
        if (!d.before.empty()) {
            c.before = bytes_view(d.before).subspan(at, block_bytes);
        }
        changes.push_back(c);
    }
    return changes;
}

/// CPU time of this thread: what else the machine does counts less than by the wall clock.
double cpu_seconds() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}
double seconds_since(double start) { return cpu_seconds() - start; }

struct outcome {
    double encode_seconds = 0;
    double decode_seconds = 0;
    std::size_t rounds = 0;
    std::size_t payload_bytes = 0; ///< of one round
    bool good = true;
};

void run_round(const data_set &d, dedupe::encoder &encoder, dedupe::decoder &decoder, outcome &o) {
    const std::vector<std::uint64_t> volumes{content_bytes / block_bytes};
    const dedupe::base_reader base = [&](volume_index, block_index b, bytes_span out) {
        std::memcpy(out.data(), d.before.data() + b.value * block_bytes, block_bytes);
        return result<>{};
    };
    o.payload_bytes = 0;
    for (std::size_t start = 0; start < content_bytes; start += interval_bytes) {
        const auto changes = interval_of(d, start);
        auto begin = cpu_seconds();
        const auto payloads = encoder.encode(changes);
        o.encode_seconds += seconds_since(begin);
        for (const auto &p : payloads) {
            o.payload_bytes += p.bytes.size();
            begin = cpu_seconds();
            const auto decoded = decoder.decode(p.bytes.view(), volumes, base, base);
            o.decode_seconds += seconds_since(begin);
            o.good = o.good && decoded && decoded->bad.empty();
        }
    }
    ++o.rounds;
}

bool report(const data_set &d, int level, double seconds) {
    dedupe::encoder encoder({.level = level});
    dedupe::decoder decoder;
    outcome warm;
    run_round(d, encoder, decoder, warm);
    outcome o;
    do {
        run_round(d, encoder, decoder, o);
    } while (o.encode_seconds + o.decode_seconds < seconds);
    const double bytes = static_cast<double>(o.rounds * content_bytes);
    const double mib = bytes / static_cast<double>(limits::MiB);
    std::printf("%-10s %5d %9.0f %9.0f %9.3f %9.3f %8.4f%s\n", d.name, level,
                bytes / 1e6 / o.encode_seconds, bytes / 1e6 / o.decode_seconds,
                o.encode_seconds * 1e3 / mib, o.decode_seconds * 1e3 / mib,
                static_cast<double>(o.payload_bytes) / content_bytes, o.good ? "" : "  WRONG");
    return o.good;
}

} // namespace

int main(int argc, char **argv) {
    double seconds = 0.4;
    std::vector<int> levels;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string option = argv[i];
        if (option == "--seconds") {
            seconds = std::atof(argv[i + 1]);
        } else if (option == "--level") {
            levels.push_back(std::atoi(argv[i + 1]));
        }
    }
    if (levels.empty()) {
        levels = {1, 3, 7};
    }
    std::printf("%-10s %5s %9s %9s %9s %9s %8s\n", "data", "level", "enc MB/s", "dec MB/s",
                "enc ms/M", "dec ms/M", "ratio");
    bool good = true;
    for (const data_set &d : {zeros(), noise(), half(), text(), mixed(), pages(), rewritten()}) {
        for (const int level : levels) {
            good = report(d, level, seconds) && good;
        }
    }
    return good ? 0 : 1;
}
