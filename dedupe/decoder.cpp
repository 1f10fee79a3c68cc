// The decoder: takes a payload apart, checks everything that says where bytes go, then rebuilds and
// checks block by block.
//
// Memory: buffers handed out with the changes: the decoded body (full blocks first, so they are
// used where they lie, page-aligned) and, in pieces of at most 1 MiB, a page for each delta block.
// All sizes are known and bounded before it is made: at most limits::frame_raw_bytes_max of pages
// and codec_format::body_bytes_max of body. Time: a program has at most program_steps_max steps,
// each of which reads at most two blocks.

#include "dedupe/block_digest.hpp"
#include "dedupe/codec.hpp"
#include "dedupe/compress.hpp"
#include "dedupe/delta.hpp"
#include "dedupe/place_reader.hpp"
#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/format/codec_payload.hpp"

namespace farshore::dedupe {

using codec_format::operation;
using codec_format::operation_kind;
using codec_format::payload_view;
using codec_format::program_step;

struct decoder::impl {
    result<> unpack_body(const payload_view &view, bytes_span body);
    result<decoded_payload> rebuild(const payload_view &view, buffer body, const base_reader &base,
                                    const base_reader &now);
    void check_run(const payload_view &view, std::size_t first_change,
                   decoded_payload &decoded) const;

    decompressor unpacker;
    codec_format::command_list commands;
    std::vector<wire_digest> digests; ///< of the data blocks so far
    place_reader places;
};

namespace {

/// Pages for blocks made of others' bytes, one by one. In pieces: what is larger than a few MiB the
/// allocator maps anew each time, at the price of a fault for each page.
class page_supply {
  public:
    page_supply(std::size_t pages, std::vector<buffer> &owner) : left_(pages), owner_(owner) {}

    bytes_span next() {
        if (piece_.empty()) {
            constexpr std::size_t piece_pages = limits::MiB / block_bytes;
            const std::size_t count = std::min(left_, piece_pages);
            REPL_ASSERT(count > 0); // the commands were counted
            piece_ = owner_.emplace_back(count * block_bytes).span();
            left_ -= count;
        }
        const bytes_span page = piece_.first(block_bytes);
        piece_ = piece_.subspan(block_bytes);
        return page;
    }

  private:
    std::size_t left_;
    std::vector<buffer> &owner_;
    bytes_span piece_;
};

bytes_view commands_of(const codec_format::payload_header &header, bytes_view body) {
    return body.subspan(header.full_bytes(), header.command_bytes);
}

/// From this change on, only zero runs are kept, which `structure` covers.
void distrust_data(decoded_payload &decoded, std::size_t first_change) {
    const auto first = decoded.changes.begin() + static_cast<std::ptrdiff_t>(first_change);
    auto kept = first;
    for (auto at = first; at != decoded.changes.end(); ++at) {
        if (at->kind == change_kind::zero) {
            *kept++ = *at;
        } else {
            decoded.bad.push_back({at->volume, at->block});
        }
    }
    decoded.changes.erase(kept, decoded.changes.end());
}

/// Runs a program into `page`; `literals` loses what was taken (parse_commands checked that it has
/// enough).
result<> run_program(std::span<const program_step> steps, const operation &op, place_reader &places,
                     bytes_view &literals, bytes_span page) {
    const bool needs_own = std::ranges::any_of(steps, &program_step::own);
    if (needs_own) {
        // In place: own copies stay where they are.
        FS_CHECK(places.read_own(op.volume, op.block, page));
    }
    std::size_t at = 0;
    for (const program_step &step : steps) {
        const bytes_view given = literals.first(step.literals);
        literals = literals.subspan(step.literals);
        if (step.differs) {
            codec_format::source_place from = step.source;
            from.address -= step.literals;
            FS_CHECK(places.read(from, page.subspan(at, std::size_t{step.literals} + step.length)));
            add_differences(page.subspan(at, step.literals), given);
        } else {
            std::ranges::copy(given, page.begin() + static_cast<std::ptrdiff_t>(at));
            if (!step.own && step.length > 0) {
                FS_CHECK(places.read(step.source, page.subspan(at + step.literals, step.length)));
            }
        }
        at += std::size_t{step.literals} + step.length;
    }
    return {};
}

} // namespace

decoder::decoder() : impl_(std::make_unique<impl>()) {}
decoder::~decoder() = default;
decoder::decoder(decoder &&) noexcept = default;

result<decoded_payload> decoder::decode(bytes_view payload,
                                        std::span<const std::uint64_t> volume_blocks,
                                        const base_reader &base, const base_reader &now,
                                        std::size_t source_only) {
    FS_TRY(view, codec_format::parse_payload(payload));
    buffer body(view.header.body_bytes());
    FS_CHECK(impl_->unpack_body(view, body.span()));
    const bytes_view commands = commands_of(view.header, body.view());
    if (codec_format::structure_checksum(view.seed, view.sealed, commands) !=
        view.header.structure) {
        return fail(errc::corrupt, "codec payload: structure checksum");
    }
    FS_CHECK(parse_commands(commands, view.header, volume_blocks, source_only, impl_->commands));
    return impl_->rebuild(view, std::move(body), base, now);
}

result<> decoder::impl::unpack_body(const payload_view &view, bytes_span body) {
    if (view.header.packing != body_packing::none) {
        return unpacker.decompress(view.header.packing, view.body, body);
    }
    std::memcpy(body.data(), view.body.data(), body.size());
    return {};
}

result<decoded_payload> decoder::impl::rebuild(const payload_view &view, buffer body,
                                               const base_reader &base, const base_reader &now) {
    const codec_format::payload_header &header = view.header;
    bytes_view full = body.view().first(header.full_bytes());
    bytes_view literals =
        body.view().subspan(header.full_bytes() + header.command_bytes, header.literal_bytes);

    decoded_payload decoded;
    decoded.content.push_back(std::move(body)); // its bytes stay where they are
    page_supply pages(header.delta_blocks, decoded.content);
    decoded.changes.reserve(header.operations);
    digests.clear();
    std::size_t run_change = 0; // the first change that no digest was compared for
    places.begin(base, now, decoded.changes);
    for (const operation &op : commands.operations) {
        block_change change;
        change.volume = op.volume;
        change.block = op.block;
        switch (op.kind) {
        case operation_kind::zero:
            change.kind = change_kind::zero;
            change.count = op.count;
            decoded.changes.push_back(change);
            continue;
        case operation_kind::full:
            change.content = full.first(block_bytes);
            full = full.subspan(block_bytes);
            break;
        case operation_kind::delta: {
            const bytes_span page = pages.next();
            FS_CHECK(base(op.volume, op.block, page));
            const auto runs = std::span(commands.runs).subspan(op.first, op.parts);
            literals = literals.subspan(apply_runs(runs, literals, page));
            change.content = page;
            break;
        }
        case operation_kind::rebuilt: {
            const bytes_span page = pages.next();
            const auto steps = std::span(commands.steps).subspan(op.first, op.parts);
            FS_CHECK(run_program(steps, op, places, literals, page));
            change.content = page;
            break;
        }
        }
        decoded.changes.push_back(change);
        digests.push_back(to_wire(block_digest(op.volume, op.block, change.content)));
        if (digests.size() % codec_format::digest_blocks == 0 ||
            digests.size() == header.data_blocks()) {
            check_run(view, run_change, decoded);
            run_change = decoded.changes.size();
        }
    }
    // Every run fits its short digest, yet all together don't fit the long one: a short one matched
    // by chance, and no one can say which.
    if (decoded.bad.empty() && checksum_128(std::as_bytes(std::span(digests))) != header.content) {
        distrust_data(decoded, 0);
    }
    return decoded;
}

/// A run of data blocks, which begins at this change, is complete. Later blocks that are made of a
/// bad one don't find it and turn out bad too.
void decoder::impl::check_run(const payload_view &view, std::size_t first_change,
                              decoded_payload &decoded) const {
    const std::size_t index = (digests.size() - 1) / codec_format::digest_blocks;
    const auto run = std::span(digests).subspan(index * codec_format::digest_blocks);
    if (short_digest(run) != view.digest(index)) {
        distrust_data(decoded, first_change);
    }
}

} // namespace farshore::dedupe
