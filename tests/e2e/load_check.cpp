#include "tests/e2e/load_check.hpp"

#include "tests/e2e/load_volume.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace farshore::load {
namespace {

// What a sector shows.
constexpr std::uint64_t state_zero = ~std::uint64_t{0};        ///< all bytes zero
constexpr std::uint64_t state_foreign = ~std::uint64_t{0} - 1; ///< none of ours, torn or misplaced

constexpr std::uint64_t unlabelled_max = 8; ///< writes looked at beyond the newest label

using sector_states = std::vector<std::uint64_t>; ///< the write n, or one of the states above

struct images {
    std::vector<sector_states> found; ///< by volume
};

std::uint64_t state_of(const plan_options &plan, std::uint32_t volume_number,
                       std::uint64_t position, std::uint32_t chain, bytes_view bytes) {
    if (is_zero(bytes)) {
        return state_zero;
    }
    const auto label = label_of(bytes);
    if (!label || *label != sector_label{plan.seed, volume_number, chain, position, label->n}) {
        return state_foreign;
    }
    const auto expected = content_of(*label);
    return std::memcmp(expected.data(), bytes.data(), sector_bytes) == 0 ? label->n : state_foreign;
}

result<sector_states> scan(const std::string &where, const plan_options &plan,
                           std::uint32_t volume_number) {
    FS_TRY(source, volume::open(where, false));
    if (source.size() / sector_bytes != plan.volume_sectors[volume_number]) {
        return fail(errc::mismatch, where + " has another size");
    }
    sector_states found(plan.volume_sectors[volume_number]);
    byte_vector chunk;
    std::uint32_t chain = 0;
    for (std::uint64_t first = 0; first < found.size(); first += 2048) {
        const auto count = std::min<std::uint64_t>(2048, found.size() - first);
        chunk.resize(count * sector_bytes);
        FS_CHECK(source.read(first * sector_bytes, chunk));
        for (std::uint64_t i = 0; i < count; ++i) {
            while (first + i >= area_of(plan, chain, volume_number).last) {
                ++chain;
            }
            found[first + i] = state_of(plan, volume_number, first + i, chain,
                                        bytes_view(chunk).subspan(i * sector_bytes, sector_bytes));
        }
    }
    return found;
}

std::uint64_t newest_label(const images &all, const plan_options &plan, std::uint32_t chain) {
    std::uint64_t newest = 0;
    for (std::uint32_t v = 0; v < all.found.size(); ++v) {
        const auto area = area_of(plan, chain, v);
        for (auto s = area.first; s < area.last; ++s) {
            if (all.found[v][s] < state_foreign) {
                newest = std::max(newest, all.found[v][s]);
            }
        }
    }
    return newest;
}

std::string name_of_state(std::uint64_t state) {
    return state == state_zero      ? "zeroes"
           : state == state_foreign ? "foreign or torn bytes"
                                    : fmt::format("write {}", state);
}

/// Applies writes one after another to the expected states of a chain's areas.
class expectation {
  public:
    expectation(const check_options &options, std::uint32_t chain)
        : options_(options), chain_(chain) {
        for (std::uint32_t v = 0; v < options.plan.volume_sectors.size(); ++v) {
            const auto area = area_of(options.plan, chain, v);
            expected_.emplace_back(area.last - area.first, options.filled ? 0 : state_zero);
        }
    }
    void apply(std::uint64_t n) {
        const auto w = write_of(options_.plan, chain_, n);
        const auto first = w.sector - area_of(options_.plan, chain_, w.volume).first;
        std::fill_n(expected_[w.volume].begin() + static_cast<std::ptrdiff_t>(first), w.sectors,
                    w.zeroes ? state_zero : n);
    }
    struct comparison {
        std::uint64_t differing = 0; ///< sectors
        std::string first;           ///< as a sentence
    };
    comparison compare(const images &all) const {
        comparison c;
        for (std::uint32_t v = 0; v < expected_.size(); ++v) {
            const auto area = area_of(options_.plan, chain_, v);
            for (std::size_t i = 0; i < expected_[v].size(); ++i) {
                const auto found = all.found[v][area.first + i];
                if (found != expected_[v][i] && c.differing++ == 0) {
                    c.first =
                        fmt::format("volume {} sector {}: {} found, {} expected", v, area.first + i,
                                    name_of_state(found), name_of_state(expected_[v][i]));
                }
            }
        }
        return c;
    }

  private:
    const check_options &options_;
    const std::uint32_t chain_;
    std::vector<sector_states> expected_;
};

result<std::uint64_t> check_chain(const check_options &options, const images &all,
                                  std::uint32_t chain) {
    const auto labelled = newest_label(all, options.plan, chain);
    expectation expected(options, chain);
    for (std::uint64_t n = 1; n <= labelled; ++n) {
        expected.apply(n);
    }
    // Zero writes leave no label, and may have covered the newest labels: the prefix may be a
    // little longer than the labels say. The longest that fits counts.
    std::optional<std::uint64_t> fits;
    std::string nearest;
    std::uint64_t fewest = ~std::uint64_t{0};
    for (auto k = labelled; k <= labelled + unlabelled_max; ++k) {
        if (k > labelled) {
            expected.apply(k);
        }
        const auto c = expected.compare(all);
        if (c.differing == 0) {
            fits = k;
        } else if (c.differing < fewest) {
            fewest = c.differing;
            nearest = fmt::format("chain {}: not a prefix; nearest are writes 1..{}, from which {} "
                                  "sectors differ, first {}",
                                  chain, k, c.differing, c.first);
        }
    }
    if (!fits) {
        return fail(errc::mismatch, nearest);
    }
    return *fits;
}

} // namespace

result<std::vector<std::uint64_t>> check_prefix(check_options options) {
    options.plan.volume_sectors.clear();
    for (const auto &where : options.volumes) {
        FS_TRY(source, volume::open(where, false));
        options.plan.volume_sectors.push_back(source.size() / sector_bytes);
    }
    images all;
    for (std::uint32_t v = 0; v < options.volumes.size(); ++v) {
        FS_TRY(found, scan(options.volumes[v], options.plan, v));
        all.found.push_back(std::move(found));
    }
    std::vector<std::uint64_t> prefixes;
    for (std::uint32_t chain = 0; chain < options.plan.chains; ++chain) {
        FS_TRY(k, check_chain(options, all, chain));
        const auto floor = options.floor.empty() ? 0 : options.floor[chain];
        if (k < floor || (options.exact && k > floor)) {
            return fail(errc::not_in_sync,
                        fmt::format("chain {}: the images end after write {}, {} {} asked", chain,
                                    k, options.exact ? "exactly" : "at least", floor));
        }
        prefixes.push_back(k);
    }
    return prefixes;
}

} // namespace farshore::load
