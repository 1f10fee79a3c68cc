// What each stage of the codec takes off a folded trace, alone and as the last one added.
//
//   stages FOLDED [INDEX_MIB]
//
// FOLDED: made by bench/traces/fold.py. Stages: no-op (blocks written with the content that they
// had), delta (to the block's own old content), references (copies of other places; INDEX_MIB of
// index, 64 unless told) and entropy coding (zstd-3). Of references: order (cheap deltas first),
// exact dedupe (blocks found as a whole) and history (places that the interval does not change, and
// what was seen in earlier intervals); these do nothing alone. Fold itself is the difference
// between the bytes written and those of FOLDED. A stage is left out by keeping from the encoder
// what it lives on: old content, index, source, level. Output: a Markdown table; MB of payloads.

#include "dedupe/codec.hpp"
#include "replicator/base/geometry.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace farshore;

namespace {

struct stage_set {
    bool no_op = false;
    bool delta = false;
    bool references = false;
    bool entropy = false;
    bool order = true;
    bool exact = true;
    bool history = true;
};

class folded_file {
  public:
    explicit folded_file(const char *path) {
        const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
        struct stat st{};
        if (fd < 0 || ::fstat(fd, &st) != 0 || st.st_size < head_bytes) {
            std::perror(path);
            std::exit(1);
        }
        const auto size = static_cast<std::size_t>(st.st_size);
        data_ =
            static_cast<const std::byte *>(::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0));
        ::close(fd);
        end_ = data_ + size;
        std::uint32_t volumes = 0;
        std::memcpy(&volumes, data_ + 12, 4);
        first_ = data_ + head_bytes;
        for (std::uint32_t i = 0; i < volumes; ++i, first_ += 8) {
            std::uint64_t bytes = 0;
            std::memcpy(&bytes, first_, 8);
            volume_blocks.push_back((bytes + block_bytes - 1) / block_bytes);
        }
    }

    /// Calls with the changes of each interval, `before` included.
    template <class F>
    void each_interval(F call) const {
        std::vector<block_change> changes;
        for (const std::byte *at = first_; at < end_;) {
            std::uint32_t count = 0;
            std::memcpy(&count, at, 4);
            at += 4;
            changes.clear();
            for (std::uint32_t i = 0; i < count; ++i) {
                std::uint16_t volume = 0;
                std::uint64_t block = 0;
                std::memcpy(&volume, at, 2);
                std::memcpy(&block, at + 4, 8);
                block_change c;
                c.volume = volume_index{volume};
                c.block = block_index{block};
                c.before = {at + 12, block_bytes};
                c.content = {at + 12 + block_bytes, block_bytes};
                changes.push_back(c);
                at += 12 + 2 * block_bytes;
            }
            call(changes);
        }
    }

    std::vector<std::uint64_t> volume_blocks;

  private:
    static constexpr long head_bytes = 16;
    const std::byte *data_ = nullptr;
    const std::byte *first_ = nullptr;
    const std::byte *end_ = nullptr;
};

/// The volumes as the trace makes them; touched memory only.
class images {
  public:
    explicit images(const std::vector<std::uint64_t> &volume_blocks) {
        for (const std::uint64_t blocks : volume_blocks) {
            void *at = ::mmap(nullptr, blocks * block_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            volumes_.push_back({static_cast<std::byte *>(at), blocks});
        }
    }
    ~images() {
        for (const auto &[at, blocks] : volumes_) {
            ::munmap(at, blocks * block_bytes);
        }
    }
    images(const images &) = delete;
    images &operator=(const images &) = delete;

    void apply(const block_change &c) {
        std::memcpy(volumes_[c.volume.value].first + c.block.value * block_bytes, c.content.data(),
                    block_bytes);
    }
    dedupe::source_reader reader() const {
        return [this](volume_index v, block_index b, bytes_span out) {
            if (b.value >= volumes_[v.value].second) {
                return false;
            }
            std::memcpy(out.data(), volumes_[v.value].first + b.value * block_bytes, block_bytes);
            return true;
        };
    }

  private:
    std::vector<std::pair<std::byte *, std::uint64_t>> volumes_;
};

double run(const folded_file &file, stage_set stages, std::size_t index_bytes) {
    dedupe::encoder_options o;
    o.payload_body_bytes = 512 << 10;
    o.volume_blocks = file.volume_blocks;
    o.index_bytes = stages.references ? index_bytes : 0;
    o.level = stages.entropy ? 3 : dedupe::encoder_options::stored;
    o.cheap_first = stages.order;
    o.whole_blocks = stages.exact;
    auto encoder = std::make_unique<dedupe::encoder>(o);
    images site(file.volume_blocks);
    const dedupe::source_reader source = stages.history ? site.reader() : dedupe::source_reader{};
    std::uint64_t bytes = 0;
    std::vector<block_change> given;
    file.each_interval([&](const std::vector<block_change> &changes) {
        given.clear();
        for (const block_change &c : changes) {
            const bool same = std::ranges::equal(c.before, c.content);
            if (same && stages.no_op) {
                continue;
            }
            given.push_back(c);
            if (!stages.delta || same) {
                given.back().before = {};
            }
        }
        if (!stages.history) {
            encoder = std::make_unique<dedupe::encoder>(o); // an index that knows nothing
        }
        for (const auto &p : encoder->encode(given, source)) {
            bytes += p.bytes.size();
        }
        for (const block_change &c : changes) {
            site.apply(c);
        }
    });
    return static_cast<double>(bytes) / 1e6;
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s FOLDED [INDEX_MIB]\n", argv[0]);
        return 2;
    }
    const folded_file file(argv[1]);
    const std::size_t index_bytes = (argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 64) << 20;
    const std::array<std::pair<const char *, bool stage_set::*>, 7> stages = {{
        {"no-op", &stage_set::no_op},
        {"delta", &stage_set::delta},
        {"references", &stage_set::references},
        {"entropy", &stage_set::entropy},
        {"order", &stage_set::order},
        {"exact dedupe", &stage_set::exact},
        {"history", &stage_set::history},
    }};
    const double none = run(file, {}, index_bytes);
    const double all = run(file, {true, true, true, true}, index_bytes);
    std::printf("| stage | alone | takes off | all but it | takes off as the last |\n"
                "| --- | --- | --- | --- | --- |\n| none / all | %.1f | | %.1f | |\n",
                none, all);
    for (const auto &[name, member] : stages) {
        const bool of_references = stage_set{}.*member;
        stage_set without{true, true, true, true};
        without.*member = false;
        const double others = run(file, without, index_bytes);
        std::printf("| %s | ", name);
        if (of_references) {
            std::printf("| | ");
        } else {
            stage_set only;
            only.*member = true;
            const double alone = run(file, only, index_bytes);
            std::printf("%.1f | %.1f %% | ", alone, (none - alone) / none * 100);
        }
        std::printf("%.1f | %.1f %% |\n", others, (others - all) / others * 100);
        std::fflush(stdout);
    }
    return 0;
}
