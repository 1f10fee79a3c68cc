// The encoder: drops what changes nothing and turns the rest into operations, in three passes over
// the interval, each in order of place: (1) zeroes and deltas to the block's own old content; (2)
// what has no similar old content, by copies of other places; (3) what looks random, the same at
// sparse anchors, or as it is. Passes 2 and 3 may refer to everything before them.

#include "dedupe/block_digest.hpp"
#include "dedupe/codec.hpp"
#include "dedupe/content_cache.hpp"
#include "dedupe/delta.hpp"
#include "dedupe/matcher.hpp"
#include "dedupe/payload_builder.hpp"
#include "dedupe/verify.hpp"
#include "replicator/base/assert.hpp"

#include <algorithm>
#include <optional>

namespace farshore::dedupe {

namespace {

bool in_order(const block_change &first, const block_change &second) {
    return first.volume < second.volume ||
           (first.volume == second.volume && first.block.value + first.count <= second.block.value);
}

constexpr codec_format::delta_run whole_block{0, block_bytes};
/// After so many blocks in a row that look random and of which no part was found (2 MiB), less of
/// each is searched: enough to notice when that changes (docs/decisions/0013).
constexpr std::uint64_t unfound_max = 512;
constexpr std::size_t searched_then = 1024;

} // namespace

struct encoder::impl {
    explicit impl(encoder_options o)
        : options(std::move(o)), out(options.level, options.payload_body_bytes),
          space(options.volume_blocks),
          contents(options.index_bytes > 0 ? options.content_bytes : 0) {
        if (options.index_bytes > 0) {
            index.emplace(options.index_bytes);
            match.emplace(space, *index);
        }
        set_level(options.level);
    }

    void set_level(int level) {
        quick = level == encoder_options::quick; // to the packer zstd's lowest
        out.set_level(level);
    }
    bool searches() const { return match && !quick; }

    std::vector<encoded_payload> encode(std::span<const block_change> changes,
                                        const source_reader &source);
    bool read_known(const source_reader &ask, volume_index volume, block_index block,
                    bytes_span page);
    void keep_contents(std::span<const block_change> changes);
    bool add_loan(const ready_block &block);
    void pass_near(const block_change &change);
    void pass_far(const block_change &change);
    void pass_at_once();
    void pass_random(const block_change &change);
    void add_whole(const block_change &change);
    void add_near(const block_change &change);
    bool add_rebuilt(const ready_block &block, std::span<const codec_format::delta_run> near);
    bool add_random_parts(const ready_block &block);
    bool add_whole_copy(const ready_block &block, std::uint64_t key);
    void add_program(const ready_block &block);
    void note(const ready_block &block, std::uint64_t key);
    void begin_program();
    void add_zero_block(const block_change &change);
    void add_zero(volume_index volume, block_index block, std::uint64_t count);
    void write_zero_run();

    encoder_options options;
    result<> checked{}; ///< self_check()
    bool quick = false; ///< the level
    encode_stats stats;
    payload_builder out;
    source_space space;
    content_cache contents;
    std::optional<reference_index> index;
    std::optional<matcher> match;
    std::uint64_t program_payload = 0; ///< what the matcher's recent places belong to

    std::span<const loan> loans;
    std::vector<const block_change *> far;
    std::vector<const block_change *> random;
    std::uint64_t random_unfound = 0; ///< in a row

    // A zero run not yet written: the next block may make it longer. count 0: none.
    volume_index zero_volume;
    block_index zero_block;
    std::uint64_t zero_count = 0;

    std::vector<codec_format::delta_run> runs;
    byte_vector literals;
};

encoder::encoder(encoder_options options) : impl_(std::make_unique<impl>(std::move(options))) {}
encoder::~encoder() = default;
encoder::encoder(encoder &&) noexcept = default;

// Sparse anchors are enough to find pages; the block as a whole is found by its digest.
void note_known(volume_index volume, block_index block, bytes_view content,
                std::vector<known_place> &out) {
    if (is_zero(content)) {
        return;
    }
    const std::uint64_t start = block.value * block_bytes;
    out.push_back({checksum_128(content).high, volume, start});
    std::vector<anchor> anchors;
    find_anchors(content, 0, sparse_anchor_bits, anchors);
    for (const anchor &a : anchors) {
        out.push_back({a.key, volume, start + a.at});
    }
}

void encoder::learn(std::span<const known_place> places) {
    for (const known_place &p : places) {
        const auto place = impl_->space.linear(p.volume, p.address);
        if (impl_->index && place) {
            impl_->index->put(p.key, *place);
        }
    }
}

void encoder::forget_contents() { impl_->contents.clear(); }

void encoder::set_level(int level) { impl_->set_level(level); }

const result<> &encoder::self_check() const { return impl_->checked; }

const encode_stats &encoder::stats() const { return impl_->stats; }

std::vector<encoded_payload> encoder::encode(std::span<const block_change> changes,
                                             const source_reader &source,
                                             std::span<const loan> loans) {
    std::vector<encoded_payload> payloads;
    impl_->loans = loans;
    impl_->checked = {};
    source_reader known;
    if (source) {
        known = [&](volume_index v, block_index b, bytes_span out) {
            return impl_->read_known(source, v, b, out);
        };
    }
    if (impl_->options.verify) {
        const remembering_source remembering(known);
        payloads = impl_->encode(changes, remembering.reader());
        result<> same = verify_payloads(changes, impl_->options.volume_blocks,
                                        remembering.answers(), loans, payloads);
        if (impl_->checked) {
            impl_->checked = std::move(same);
        }
        if (!impl_->checked) {
            impl_->contents.clear();
            return {};
        }
    } else {
        payloads = impl_->encode(changes, known);
    }
    impl_->keep_contents(changes);
    for (const encoded_payload &p : payloads) {
        impl_->stats.payload_bytes += p.bytes.size();
    }
    return payloads;
}

bool encoder::impl::read_known(const source_reader &ask, volume_index volume, block_index block,
                               bytes_span page) {
    if (!contents.find(volume, block, page)) {
        if (!ask(volume, block, page)) {
            return false;
        }
        contents.put(volume, block, page);
        return true;
    }
    if (options.verify) {
        buffer asked(block_bytes);
        if (ask(volume, block, asked.span()) &&
            !std::ranges::equal(asked.view(), bytes_view(page))) {
            checked = fail(errc::mismatch, "what is kept of a block is not what it was");
        }
    }
    return true;
}

void encoder::impl::keep_contents(std::span<const block_change> changes) {
    for (const block_change &change : changes) {
        if (change.kind == change_kind::data) {
            contents.put(change.volume, change.block, change.content);
        } else {
            contents.drop(change.volume, change.block, change.count);
        }
    }
}

std::vector<encoded_payload> encoder::impl::encode(std::span<const block_change> changes,
                                                   const source_reader &source) {
    space.begin(changes, source);
    far.clear();
    random.clear();
    for (std::size_t n = 0; n < changes.size(); ++n) {
        REPL_ASSERT(n == 0 || in_order(changes[n - 1], changes[n]));
        pass_near(changes[n]);
        if (!options.cheap_first) {
            pass_at_once();
        }
    }
    write_zero_run();
    out.close();
    for (const block_change *change : far) {
        pass_far(*change);
    }
    out.close();
    out.store_only(true);
    for (const block_change *change : random) {
        pass_random(*change);
    }
    out.close();
    out.store_only(false);
    return out.take();
}

void encoder::impl::pass_near(const block_change &change) {
    REPL_ASSERT(change.before.empty() || change.before.size() == block_bytes);
    if (change.kind == change_kind::zero) {
        stats.blocks_in += change.count;
        add_zero_block(change);
        return;
    }
    REPL_ASSERT(change.content.size() == block_bytes && change.count == 1);
    ++stats.blocks_in;
    if (is_zero(change.content)) {
        add_zero_block(change);
    } else if (!change.before.empty() && find_runs(change.before, change.content, runs)) {
        add_near(change);
    } else if (!searches()) {
        write_zero_run();
        add_whole(change);
    } else if (looks_random(change.content)) {
        random.push_back(&change);
    } else {
        far.push_back(&change);
    }
}

/// By a loan, a whole copy or as it is.
void encoder::impl::add_whole(const block_change &change) {
    const checksum128 content = checksum_128(change.content);
    const ready_block block{change, block_digest(change.volume, change.block, content)};
    if (!add_loan(block) && !add_whole_copy(block, content.high)) {
        out.full(block);
        ++stats.full_blocks;
    }
    note(block, content.high);
}

void encoder::impl::add_near(const block_change &change) {
    if (runs.empty()) {
        ++stats.same_blocks;
        return;
    }
    write_zero_run();
    const checksum128 content = checksum_128(change.content);
    const ready_block block{change, block_digest(change.volume, change.block, content)};
    if (!add_rebuilt(block, runs)) {
        literals.clear();
        append_literals(change.content, runs, literals);
        out.delta(block, runs, literals);
        ++stats.delta_blocks;
        stats.literal_bytes += literals.size();
    }
    note(block, content.high);
}

/// The block that pass_near put off, in its place.
void encoder::impl::pass_at_once() {
    if (!far.empty()) {
        write_zero_run();
        pass_far(*far.back());
        far.clear();
    }
    if (!random.empty()) {
        write_zero_run();
        pass_random(*random.back());
        random.clear();
    }
}

void encoder::impl::pass_far(const block_change &change) {
    const checksum128 content = checksum_128(change.content);
    const ready_block block{change, block_digest(change.volume, change.block, content)};
    if (!add_loan(block) && !add_whole_copy(block, content.high) &&
        !add_rebuilt(block, {&whole_block, 1})) {
        out.full(block);
        ++stats.full_blocks;
    }
    note(block, content.high);
}

void encoder::impl::pass_random(const block_change &change) {
    const checksum128 content = checksum_128(change.content);
    const ready_block block{change, block_digest(change.volume, change.block, content)};
    if (add_loan(block) || add_whole_copy(block, content.high) || add_random_parts(block)) {
        random_unfound = 0;
    } else {
        ++random_unfound;
        out.full(block);
        ++stats.full_blocks;
        ++stats.random_blocks;
    }
    note(block, content.high);
}

/// A payload that begins knows no recent places.
void encoder::impl::begin_program() {
    out.make_room();
    if (program_payload != out.number()) {
        program_payload = out.number();
        match->begin_payload();
    }
}

bool encoder::impl::add_rebuilt(const ready_block &block,
                                std::span<const codec_format::delta_run> near) {
    if (!searches()) {
        return false;
    }
    begin_program();
    if (!match->build(block.change, near)) {
        return false;
    }
    add_program(block);
    return true;
}

bool encoder::impl::add_random_parts(const ready_block &block) {
    begin_program();
    if (!match->build_random(block.change,
                             random_unfound < unfound_max ? block_bytes : searched_then)) {
        return false;
    }
    add_program(block);
    return true;
}

bool encoder::impl::add_loan(const ready_block &block) {
    const std::pair at(block.change.volume, block.change.block);
    const auto found = std::ranges::lower_bound(
        loans, at, {}, [](const loan &l) { return std::pair(l.volume, l.block); });
    if (!match || found == loans.end() || std::pair(found->volume, found->block) != at) {
        return false;
    }
    begin_program();
    const volume_index volume{static_cast<std::uint16_t>(options.volume_blocks.size())};
    match->build_known(block.change, {volume, false, found->slot * block_bytes});
    add_program(block);
    ++stats.loaned_blocks;
    return true;
}

bool encoder::impl::add_whole_copy(const ready_block &block, std::uint64_t key) {
    if (!match || !options.whole_blocks) {
        return false;
    }
    begin_program();
    if (!match->build_whole(block.change, key)) {
        return false;
    }
    add_program(block);
    return true;
}

/// The block as the matcher has built it.
void encoder::impl::add_program(const ready_block &block) {
    out.rebuilt(block, match->program(), match->literals());
    ++stats.rebuilt_blocks;
    stats.copied_bytes += match->copied_bytes();
    stats.literal_bytes += match->literals().size();
}

void encoder::impl::note(const ready_block &block, std::uint64_t key) {
    space.emitted(block.change);
    if (match) {
        match->note_new(block.change, key);
    }
}

void encoder::impl::add_zero_block(const block_change &change) {
    if (change.count == 1 && !change.before.empty() && is_zero(change.before)) {
        ++stats.same_blocks;
        return;
    }
    add_zero(change.volume, change.block, change.count);
}

void encoder::impl::add_zero(volume_index volume, block_index block, std::uint64_t count) {
    REPL_ASSERT(count > 0);
    stats.zero_blocks += count;
    if (zero_count > 0 && zero_volume == volume && zero_block.value + zero_count == block.value) {
        zero_count += count;
        return;
    }
    write_zero_run();
    zero_volume = volume;
    zero_block = block;
    zero_count = count;
}

void encoder::impl::write_zero_run() {
    if (zero_count > 0) {
        out.zero(zero_volume, zero_block, zero_count);
        zero_count = 0;
    }
}

} // namespace farshore::dedupe
