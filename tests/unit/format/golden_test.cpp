// Every format of disk and line, byte by byte: one value of each with no two fields alike, against
// tests/golden/formats.txt (a line for each: name, length, bytes in hex without the zeroes at the
// end). A line that differs is a format that changed: its version and its page change with it, or
// old files are misread in silence. What the file has must also be read back as that value.
// FARSHORE_WRITE_GOLDEN=1 adds lines that are missing.

#include "replicator/format/codec_payload.hpp"
#include "replicator/format/dirty_map_file.hpp"
#include "replicator/format/frame.hpp"
#include "replicator/format/group_state.hpp"
#include "replicator/format/loan_header.hpp"
#include "replicator/format/messages.hpp"
#include "replicator/format/overlay_header.hpp"
#include "replicator/format/segment_header.hpp"
#include "replicator/format/undo_record.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>

namespace farshore {
namespace {

std::filesystem::path golden_file() {
    return std::filesystem::path(__FILE__).parent_path() / "../../golden/formats.txt";
}

std::string text_of(bytes_view bytes) {
    std::size_t used = bytes.size();
    while (used > 0 && bytes[used - 1] == std::byte{0}) {
        --used;
    }
    return std::to_string(bytes.size()) + " " + to_hex(bytes.first(used));
}

/// Numbers that go up, so that two fields that change places show.
class counting {
  public:
    std::uint64_t next() { return ++last_; }
    wall_time time() {
        return wall_time(
            std::chrono::milliseconds(1'767'225'600'000 + static_cast<std::int64_t>(next())));
    }
    template <std::size_t N>
    std::array<std::byte, N> bytes() {
        std::array<std::byte, N> out{};
        for (std::byte &b : out) {
            b = static_cast<std::byte>(next());
        }
        return out;
    }
    stream_position position() {
        const stream_id stream{next() + 0x1122334455660000};
        return {stream, interval_id{next()}};
    }

  private:
    std::uint64_t last_ = 0;
};

/// Fills a message's fields, each as small as its range allows and above what was before.
class message_filler {
  public:
    template <std::unsigned_integral Int>
    void operator()(Int &value, const wire::field &f) {
        const std::uint64_t wanted = std::max(f.min, n_.next() * f.unit);
        value = static_cast<Int>(wanted <= f.max ? wanted : f.max);
    }
    void operator()(bool &value, const char *) { value = true; }
    void operator()(wire::random64 &r) { r.value = 0x8877665544330000 + n_.next(); }
    void operator()(stream_position &p, const wire::field &) { p = n_.position(); }
    template <std::size_t N>
    void operator()(std::array<std::byte, N> &a) {
        a = n_.bytes<N>();
    }
    void operator()(std::string &text, const wire::length &) {
        text = "text" + std::to_string(n_.next());
    }
    void operator()(byte_vector &bytes, const wire::length &l) {
        bytes.assign(std::max<std::size_t>(l.min, 2 * l.unit), static_cast<std::byte>(n_.next()));
    }
    template <class T>
    void operator()(std::vector<T> &list, const wire::length &l) {
        list.resize(std::max<std::size_t>(l.min, 2));
        for (T &item : list) {
            item.visit(*this);
        }
    }

  private:
    counting n_;
};

class golden {
  public:
    golden() {
        std::ifstream file(golden_file());
        for (std::string line; std::getline(file, line);) {
            const auto space = line.find(' ');
            lines_[line.substr(0, space)] = line.substr(space + 1);
        }
    }
    ~golden() {
        for (const auto &[name, text] : lines_) {
            CHECK_MESSAGE(met_.contains(name),
                          ("tests/golden/formats.txt has a line that nothing makes: " + name));
        }
        if (std::getenv("FARSHORE_WRITE_GOLDEN") != nullptr) {
            lines_.insert(met_.begin(), met_.end());
            std::ofstream file(golden_file());
            for (const auto &[name, text] : lines_) {
                file << name << ' ' << text << '\n';
            }
        }
    }
    void is(const std::string &name, bytes_view bytes) {
        met_[name] = text_of(bytes);
        if (std::getenv("FARSHORE_WRITE_GOLDEN") == nullptr || lines_.contains(name)) {
            CHECK_MESSAGE(lines_[name] == met_[name], name);
        }
    }
    template <class Message>
    void message(const std::string &name) {
        Message m;
        message_filler fill;
        m.visit(fill);
        const buffer bytes = wire::encode(m);
        is("message-" + name, bytes.view());
        // Its fields need not fit each other (check()), so what is read back is compared where it
        // is read at all.
        if (const auto parsed = wire::parse<Message>(bytes.view())) {
            CHECK_MESSAGE(text_of(wire::encode(*parsed).view()) == text_of(bytes.view()), name);
        }
    }

  private:
    std::map<std::string, std::string> lines_, met_;
};

TEST_SUITE_BEGIN("format");

TEST_CASE("golden formats: each is what it was") {
    golden g;
    g.message<wire::hello>("hello");
    g.message<wire::welcome>("welcome");
    g.message<wire::refusal>("refusal");
    g.message<wire::ack>("ack");
    g.message<wire::begin_stream>("begin_stream");
    g.message<wire::stream_ready>("stream_ready");
    g.message<wire::digest_request>("digest_request");
    g.message<wire::digest_reply>("digest_reply");
    g.message<wire::nak>("nak");
    g.message<wire::heartbeat>("heartbeat");
    g.message<wire::verify_result>("verify_result");
    g.message<wire::notice>("notice");
    g.message<wire::compare_request>("compare_request");
    g.message<wire::compare_reply>("compare_reply");
    g.message<wire::site_claim>("site_claim");
    g.message<wire::role_offer>("role_offer");
    g.message<wire::join_request>("join_request");
    g.message<wire::join_reply>("join_reply");
    g.message<wire::loan_request>("loan_request");
    g.message<wire::loan_reply>("loan_reply");
    g.message<wire::changed_request>("changed_request");
    g.message<wire::changed_reply>("changed_reply");
    g.message<wire::extent_request>("extent_request");
    g.message<wire::extent_reply>("extent_reply");
    // ---- disk
    counting n;

    frame_header frame;
    frame.stream = n.position().stream;
    frame.interval = n.position().interval;
    frame.index = static_cast<std::uint32_t>(n.next());
    frame.blocks = static_cast<std::uint32_t>(n.next());
    frame.raw_bytes = static_cast<std::uint32_t>(n.next() * block_bytes);
    const auto payload = n.bytes<8>();
    g.is("frame", make_frame(frame, payload).view());
    frame.type = frame_type::barrier;
    frame.blocks = frame.raw_bytes = 0;
    const wall_time arrival = n.time();
    const buffer ended = with_arrival(make_frame(frame, payload).view(), arrival);
    g.is("frame-of-a-barrier", ended.view());
    const auto read = parse_frame(ended.view());
    REQUIRE(read);
    CHECK(read->header.arrival == arrival);

    barrier b;
    b.time = n.time();
    b.consistent = true;
    b.requested = true;
    b.data_frames = static_cast<std::uint32_t>(n.next());
    b.blocks = n.next();
    b.written_bytes = n.next();
    b.heals = n.next();
    b.frames_checksum = n.next();
    b.verify.push_back({volume_index{static_cast<std::uint16_t>(n.next())},
                        {n.next() * block_bytes, n.next() * block_bytes},
                        n.bytes<16>()});
    g.is("barrier", encode_barrier(b));
    CHECK(parse_barrier(encode_barrier(b)) == b);

    const segment_header segment{segment_kind::undo, n.next(), n.next() + 4096};
    g.is("segment-header", encode_segment_header(segment));
    CHECK(parse_segment_header(encode_segment_header(segment)) == segment);

    undo_header undo;
    undo.position = n.position();
    undo.part = static_cast<std::uint32_t>(n.next());
    undo.last = undo.consistent = undo.point = true;
    undo.entries = 1;
    undo.content_bytes = block_bytes;
    undo.time = n.time();
    undo.arrival = n.time();
    undo.healed_count = n.next();
    undo.damage_count = n.next();
    undo.synced_segment = n.next();
    undo.synced_offset = n.next();
    const undo_entry entry{volume_index{static_cast<std::uint16_t>(n.next())},
                           block_index{n.next()}, undo_kind::raw, 1, n.next()};
    const byte_vector table = encode_undo_entries({&entry, 1});
    undo.entries_checksum = n.next();
    undo.written = static_cast<std::int64_t>(n.next());
    g.is("undo-header", encode_undo_header(undo));
    g.is("undo-entries", table);
    const auto undone = parse_undo_header(encode_undo_header(undo));
    CHECK_MESSAGE(undone == undo, (undone ? "" : undone.error().text()));
    CHECK(parse_undo_entry(table) == entry);

    commit_record commit;
    commit.sequence = n.next();
    commit.applied = n.position();
    commit.durable = {commit.applied.stream, interval_id{n.next()}};
    commit.consistent = true;
    commit.point = commit.applied.interval;
    commit.applied_time = n.time();
    commit.applied_arrival = n.time();
    commit.point_time = n.time();
    commit.point_arrival = n.time();
    commit.healed_count = n.next();
    commit.damage_count = n.next();
    commit.undo_segment = n.next();
    commit.undo_offset = n.next() + 64;
    commit.rollback_segment = n.next();
    commit.rollback_offset = n.next() + 64;
    commit.suspect = interval_id{1};
    commit.suspect_time = n.time();
    commit.touched = static_cast<std::int64_t>(n.next());
    commit.images.push_back({n.next(), n.next() * block_bytes, static_cast<std::int64_t>(n.next()),
                             static_cast<std::int64_t>(n.next())});
    g.is("commit-slot", encode_commit_slot(commit));
    const auto committed = parse_commit_slot(encode_commit_slot(commit));
    CHECK_MESSAGE(committed == commit, (committed ? "" : committed.error().text()));

    group_volumes volumes;
    volumes.identity = n.bytes<16>();
    volumes.volumes = {{"data", n.next() * block_bytes, "/srv/data.img"},
                       {"log", n.next() * block_bytes, "/srv/log.img"}};
    g.is("group-volumes", encode_group_volumes(volumes));
    CHECK(parse_group_volumes(encode_group_volumes(volumes)) == volumes);

    const loan_header loan{interval_id{n.next()}};
    g.is("loan-header", encode_loan_header(loan));
    CHECK(parse_loan_header(encode_loan_header(loan)) == loan);

    const overlay_header overlay{interval_id{0x5152}, 0x6162}; // not of `n`: it came later
    g.is("overlay-header", encode_overlay_header(overlay));
    CHECK(parse_overlay_header(encode_overlay_header(overlay)) == overlay);

    const map_layout layout = map_layout::of(limits::GiB + 512);
    byte_vector page(4096);
    encode_map_header(page, layout);
    g.is("map-header", page);
    CHECK(parse_map_header(page) == layout);
    map_state state;
    state.sequence = n.next();
    state.clean = state.sync_failed = state.shared = true;
    state.boot_id = "01234567-89ab-cdef-0123-456789abcdef";
    state.map = {n.next(), n.next(), static_cast<std::int64_t>(n.next()), n.next()};
    state.volume = {n.next(), n.next(), static_cast<std::int64_t>(n.next()), n.next()};
    state.left = {static_cast<std::int64_t>(n.next()), static_cast<std::int64_t>(n.next())};
    state.durable = {static_cast<std::int64_t>(n.next()), static_cast<std::int64_t>(n.next())};
    state.fine_checksum = n.next();
    store_map_state(page, state);
    g.is("map-header-with-state", page);
    const auto stated = parse_map_state(page);
    CHECK_MESSAGE(stated == state, (stated ? "" : stated.error().text()));

    activity_bits bits{};
    std::iota(bits.begin(), bits.end(), n.next());
    byte_vector sector(activity_sector_bytes);
    encode_activity(sector, 3, bits);
    g.is("map-activity", sector);
    CHECK(parse_activity(sector, 3) == bits);

    capture_record record;
    record.sequence = n.next();
    record.last_interval = interval_id{n.next()};
    record.reserved_interval = interval_id{n.next()};
    record.acknowledged = {stream_id{n.next()}, interval_id{1}};
    record.receiver = n.bytes<16>();
    record.boot_id = state.boot_id;
    record.begun = stream_id{n.next()};
    byte_vector capture(capture_state_bytes);
    store_capture_state(capture, record);
    g.is("capture-state", capture);
    const auto captured = parse_capture_state(capture);
    CHECK_MESSAGE(captured == record, (captured ? "" : captured.error().text()));
}

TEST_SUITE_END();

} // namespace
} // namespace farshore
