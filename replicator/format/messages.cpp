#include "replicator/format/messages.hpp"

#include "replicator/base/clean_text.hpp"
#include "replicator/format/endian.hpp"

#include <concepts>
#include <limits>

namespace farshore::wire {
namespace {

class field_writer {
  public:
    explicit field_writer(byte_vector &out) : out_(out) {}
    void operator()(const std::unsigned_integral auto &value) { out_.varint(value); }
    void operator()(const bool &value) { out_.u8(value ? 1 : 0); }
    void operator()(const random64 &r) { out_.structure(le64(r.value)); }
    void operator()(const stream_position &p) {
        (*this)(random64(p.stream.value));
        out_.varint(p.interval.value);
    }
    template <std::size_t N> void operator()(const std::array<std::byte, N> &a) { out_.bytes(a); }
    void operator()(const std::string &text, std::size_t) { out_.text(text); }
    void operator()(byte_vector &bytes, std::size_t) { out_.sized_bytes(bytes); }
    template <class T> void operator()(std::vector<T> &list, std::size_t) {
        out_.varint(list.size());
        for (T &item : list) {
            item.visit(*this);
        }
    }

  private:
    byte_writer out_;
};

/// Keeps the first failure; later fields are then left as they are.
class field_reader {
  public:
    explicit field_reader(bytes_view in) : in_(in) {}
    result<> finish() {
        FS_CHECK(std::move(state_));
        return in_.expect_end();
    }

    template <std::unsigned_integral Int> void operator()(Int &value) {
        std::uint64_t wide = 0;
        if (take(in_.varint(), wide)) {
            if (wide > std::numeric_limits<Int>::max()) {
                state_ = fail(errc::limit, "integer field out of range");
                return;
            }
            value = static_cast<Int>(wide);
        }
    }
    void operator()(bool &value) {
        std::uint8_t raw = 0;
        if (take(in_.u8(), raw)) {
            if (raw > 1) {
                state_ = fail(errc::corrupt, "boolean field is neither 0 nor 1");
                return;
            }
            value = raw == 1;
        }
    }
    void operator()(random64 &r) {
        le64 raw;
        if (take(in_.structure<le64>(), raw)) {
            r.value = raw.get();
        }
    }
    void operator()(stream_position &p) {
        random64 stream;
        (*this)(stream);
        p.stream = stream_id{stream.value};
        (*this)(p.interval.value);
    }
    template <std::size_t N> void operator()(std::array<std::byte, N> &a) {
        bytes_view raw;
        if (take(in_.bytes(N), raw)) {
            std::copy(raw.begin(), raw.end(), a.begin());
        }
    }
    /// Cleaned here, so that whoever holds a peer's words may log and show them (base/clean_text.hpp).
    void operator()(std::string &text, std::size_t max) {
        if (take(in_.text(max), text)) {
            text = clean_text(text, max);
        }
    }
    void operator()(byte_vector &bytes, std::size_t max) {
        bytes_view raw;
        if (take(in_.sized_bytes(max), raw)) {
            bytes.assign(raw.begin(), raw.end());
        }
    }
    template <class T> void operator()(std::vector<T> &list, std::size_t max) {
        std::uint64_t count = 0;
        if (!take(in_.varint(), count)) {
            return;
        }
        // Every item takes at least one byte, so a count beyond the rest can't be true.
        if (count > max || count > in_.remaining()) {
            state_ = fail(errc::limit, "list longer than its limit");
            return;
        }
        list.resize(static_cast<std::size_t>(count));
        for (T &item : list) {
            item.visit(*this);
            if (!state_) {
                return;
            }
        }
    }

  private:
    template <class T> bool take(result<T> got, T &out) {
        if (!state_) {
            return false;
        }
        if (!got) {
            state_ = std::unexpected(std::move(got).error());
            return false;
        }
        out = std::move(*got);
        return true;
    }

    byte_reader in_;
    result<> state_{};
};

} // namespace

template <class Message> buffer encode(const Message &m) {
    byte_vector out;
    field_writer writer(out);
    Message copy = m; // visit is not const, since parse uses the same list
    copy.visit(writer);
    return buffer::copy_of(out);
}

template <class Message> result<Message> parse(bytes_view payload) {
    Message m{};
    field_reader reader(payload);
    m.visit(reader);
    FS_CHECK(reader.finish());
    return m;
}

#define FS_MESSAGE(M)                                                                              \
    template buffer encode<M>(const M &);                                                          \
    template result<M> parse<M>(bytes_view);
FS_MESSAGE(hello)
FS_MESSAGE(welcome)
FS_MESSAGE(refusal)
FS_MESSAGE(ack)
FS_MESSAGE(begin_stream)
FS_MESSAGE(stream_ready)
FS_MESSAGE(digest_request)
FS_MESSAGE(digest_reply)
FS_MESSAGE(extent_request)
FS_MESSAGE(extent_reply)
FS_MESSAGE(loan_request)
FS_MESSAGE(loan_reply)
FS_MESSAGE(changed_request)
FS_MESSAGE(changed_reply)
FS_MESSAGE(nak)
FS_MESSAGE(heartbeat)
FS_MESSAGE(verify_result)
FS_MESSAGE(notice)
FS_MESSAGE(join_request)
FS_MESSAGE(join_reply)
#undef FS_MESSAGE

} // namespace farshore::wire
