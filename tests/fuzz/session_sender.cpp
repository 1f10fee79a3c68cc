// A sender that serves a volume to a client, against a DR site that keeps no rule: any welcome, any
// message at any time, answers that are nearly right. Afterwards:
//   - every write of the client was answered well, and the volume holds what the client wrote;
//   - the other group, whose DR site is honest, streams;
//   - the daemon answers, and its calls return;
//   - with an honest DR site back in its place, `wait` succeeds and both sites are equal.
// The fuzzer's -rss_limit_mb and -malloc_limit_mb bound the bytes.

#include "replicator/format/frame.hpp"
#include "replicator/storage/block_device.hpp"
#include "tests/fuzz/session_hosts.hpp"

using namespace farshore;
using namespace farshore::fuzz;

namespace {

constexpr const char *other_address = "other:7420";
constexpr std::size_t ops_max = 48;

/// Both groups paired and in sync with an honest DR site.
struct prepared {
    sim_file_system primary{1};
    sim_file_system site{2};

    prepared() {
        make_disks(primary, site);
        world w;
        sender_host s(w, primary, "boot", other_address);
        {
            receiver_host r(w, site, address);
            pair_both(w, s, r);
            REPL_ASSERT(w.await(s.engine.wait("shop", false, std::chrono::seconds(60))));
        }
        receiver_host r(w, site, other_address);
        REPL_ASSERT(w.await(s.engine.wait("mail", false, std::chrono::seconds(60))));
    }
};

/// The DR site that keeps no rule. One input says what it does until the input ends; between inputs
/// it takes nobody.
class hostile_site {
  public:
    explicit hostile_site(world &w) : world_(w) {
        w.line.listen(address, [this](std::unique_ptr<transport::link> l) {
            asio::co_spawn(world_.io, greet(std::move(l)), asio::detached);
        });
    }
    void use(input *in) { in_ = in; }
    bool has_session() const { return control_ != nullptr; }
    void end_session() {
        if (control_) {
            control_->close();
            control_.reset();
        }
        for (const auto &l : data_) {
            l->close();
        }
        data_.clear();
    }
    void say_any() { send(any_message(*in_)); }
    void say_nearly() {
        wire::ack a;
        a.durable = a.applied = {stream_, interval_};
        a.point = interval_.value;
        a.journaled_bytes = journaled_;
        std::uint64_t *const fields[] = {
            &a.durable.interval.value, &a.applied.interval.value, &a.point,
            &a.journaled_bytes,        &a.damage_count,           &a.durable.stream.value};
        const std::uint8_t which = in_->byte() % 8;
        if (which < std::size(fields)) {
            *fields[which] += in_->byte() % 2 == 0 ? in_->byte() : in_->number();
        }
        send(envelope_of(a));
    }
    void answer_digest() {
        if (!last_digest_) {
            return;
        }
        wire::digest_reply r;
        r.id = last_digest_->id + (in_->byte() % 4 == 0 ? in_->byte() : 0);
        std::uint64_t units = 0;
        for (const wire::digest_range &d : last_digest_->ranges) {
            units += (d.length + last_digest_->unit - 1) / last_digest_->unit;
        }
        r.zero_bits = in_->bytes((units + 7) / 8 + in_->byte() % 2);
        r.digests = in_->bytes(in_->byte() * 16U);
        last_digest_.reset();
        send(envelope_of(r));
    }
    void set_manners(std::uint8_t bits) { manners_ = bits; }

  private:
    enum manner : std::uint8_t { ready = 1, digests = 2, acks = 4, reads_data = 8 };

    void send(transport::message m) {
        if (control_) {
            asio::co_spawn(world_.io, say(control_, std::move(m)), asio::detached);
        }
    }
    task<void> greet(std::unique_ptr<transport::link> accepted) {
        std::shared_ptr<transport::link> l = std::move(accepted);
        auto first = co_await l->receive();
        const auto hello = first ? wire::parse<wire::hello>(first->payload.view())
                                 : result<wire::hello>(fail(errc::closed, ""));
        if (!hello || !in_) {
            l->close();
            co_return;
        }
        if (hello->link != 0) {
            data_.push_back(l);
            co_await read_data(l);
            co_return;
        }
        end_session();
        control_ = l;
        send(welcome());
        while (auto got = co_await l->receive()) {
            hear(*got);
        }
        if (control_ == l) {
            control_.reset();
        }
    }
    transport::message welcome() {
        const std::uint8_t kind = in_->byte() % 8;
        if (kind == 0) {
            return any_message(*in_);
        }
        wire::welcome w;
        w.window_bytes = limits::MiB;
        w.receiver.fill(std::byte{9});
        w.durable = w.applied = {stream_, interval_};
        if (kind == 1) {
            field_chooser choose(*in_);
            w.visit(choose);
        } else if (kind == 2) {
            w.durable.interval.value = in_->number();
        } else if (kind == 3) {
            w.damaged = true;
            w.damage_count = in_->number();
        } else if (kind == 4) {
            w.receiver.fill(static_cast<std::byte>(in_->byte()));
        }
        return envelope_of(w);
    }
    void hear(const transport::message &m) {
        const auto type = static_cast<wire::message_type>(m.type);
        if (type == wire::message_type::begin_stream) {
            const auto b = wire::parse<wire::begin_stream>(m.payload.view());
            REPL_ASSERT(b); // what the sender says is always well-formed
            stream_ = stream_id{b->stream};
            if (manners_ & ready) {
                wire::stream_ready r;
                r.stream = b->stream;
                send(envelope_of(r));
            }
        } else if (type == wire::message_type::digest_request) {
            auto r = wire::parse<wire::digest_request>(m.payload.view());
            REPL_ASSERT(r);
            last_digest_ = std::move(*r);
            if (manners_ & digests) { // everything is zero here
                wire::digest_reply reply;
                reply.id = last_digest_->id;
                std::uint64_t units = 0;
                for (const wire::digest_range &d : last_digest_->ranges) {
                    units += (d.length + last_digest_->unit - 1) / last_digest_->unit;
                }
                reply.zero_bits.assign((units + 7) / 8, std::byte{0});
                for (std::uint64_t u = 0; u < units; ++u) {
                    reply.zero_bits[u / 8] |= static_cast<std::byte>(1U << (u % 8));
                }
                send(envelope_of(reply));
            }
        }
    }
    task<void> read_data(std::shared_ptr<transport::link> l) {
        while (auto got = co_await l->receive()) {
            journaled_ += got->payload.size();
            const auto frame = parse_frame(got->payload.view());
            REPL_ASSERT(frame);
            if (frame->header.type == frame_type::barrier) {
                interval_ = frame->header.interval;
                if (manners_ & acks) {
                    wire::ack a;
                    a.durable = a.applied = {stream_, interval_};
                    a.point = interval_.value;
                    a.journaled_bytes = journaled_;
                    send(envelope_of(a));
                }
            }
        }
    }

    world &world_;
    input *in_ = nullptr;
    std::shared_ptr<transport::link> control_;
    std::vector<std::shared_ptr<transport::link>> data_;
    std::optional<wire::digest_request> last_digest_;
    stream_id stream_;
    interval_id interval_;
    std::uint64_t journaled_ = 0;
    std::uint8_t manners_ = 0xff;
};

/// A sender that many inputs meet, one after the other, and an honest DR site at the end.
class standing {
  public:
    explicit standing(const prepared &from)
        : primary_(from.primary), site_(from.site), content_(volume_bytes) {
        honest_.emplace(world_, site_, other_address);
        sender_.emplace(world_, primary_, "boot", other_address);
        hostile_.emplace(world_);
    }
    ~standing() { hostile_->end_session(); }
    bool spent() const { return inputs_ == inputs_max || ops_ >= ops_in_all; }
    void meet(input &in) {
        ++inputs_;
        hostile_->use(&in);
        hostile_->set_manners(in.byte());
        write(in);
        world_.until([this] { return hostile_->has_session(); }, std::chrono::seconds(4));
        for (std::size_t op = 0; op < ops_max && !in.empty(); ++op) {
            step(in);
            ++ops_;
        }
        world_.pass(std::chrono::milliseconds(20));
        hostile_->use(nullptr);
        hostile_->end_session();
        check();
        if (spent()) {
            honest_again();
        }
    }

  private:
    static constexpr int inputs_max = 256;
    static constexpr std::size_t ops_in_all = 1024;

    void step(input &in) {
        switch (in.byte() % 10) {
        case 0:
        case 1:
            hostile_->say_any();
            return;
        case 2:
        case 3:
            hostile_->say_nearly();
            return;
        case 4:
            hostile_->answer_digest();
            return;
        case 5:
            hostile_->set_manners(in.byte());
            return;
        case 6:
            hostile_->end_session();
            return;
        case 7:
            write(in);
            return;
        case 8:
            command(in);
            return;
        default:
            world_.pass(std::chrono::milliseconds(1 + in.byte() * 4));
            return;
        }
    }
    void write(input &in) {
        const std::uint64_t offset = in.two() * 7ULL % (volume_bytes - 5000);
        byte_vector bytes(1 + in.two() % 5000, static_cast<std::byte>(in.byte()));
        REPL_ASSERT(sender_->device("shop")->write(offset, bytes, false));
        std::copy(bytes.begin(), bytes.end(),
                  content_.begin() + static_cast<std::ptrdiff_t>(offset));
    }
    void command(input &in) {
        switch (in.byte() % 4) {
        case 0: {
            auto done = world_.await(
                sender_->engine.wait("shop", in.byte() % 2 == 0, std::chrono::milliseconds(500)),
                std::chrono::seconds(30));
            static_cast<void>(done);
            return;
        }
        case 1:
            if (verifying_ == 0) {
                asio::co_spawn(world_.io, verify(), asio::detached);
            }
            return;
        case 2:
            static_cast<void>(world_.await(sender_->engine.resync("shop", in.byte() % 2 == 0)));
            return;
        default:
            static_cast<void>(sender_->status("shop"));
            return;
        }
    }
    task<void> verify() {
        ++verifying_;
        static_cast<void>(
            co_await sender_->engine.verify("shop", [](std::uint64_t, std::uint64_t) {}));
        --verifying_;
    }
    void check() {
        byte_vector now(volume_bytes);
        REPL_ASSERT(sender_->device("shop")->read(0, now));
        REPL_ASSERT(now == content_);
        const auto mail = sender_->status("mail");
        REPL_ASSERT(mail.state == sender_state::streaming && !mail.error);
    }
    void honest_again() {
        hostile_->end_session();
        world_.line.listen(address, {});
        world_.pass(std::chrono::milliseconds(20));
        honest_.reset();
        honest_.emplace(world_, site_, address);
        const auto waited =
            world_.await(sender_->engine.wait("shop", false, std::chrono::seconds(120)));
        REPL_ASSERT(waited);
        auto image = site_.open("/srv/shop/data.img", open_mode::read);
        byte_vector copy(volume_bytes);
        REPL_ASSERT(image && (*image)->read_at(0, copy));
        REPL_ASSERT(copy == content_);
        REPL_ASSERT(world_.until([this] { return verifying_ == 0; }, std::chrono::minutes(5)));
    }

    sim_file_system primary_;
    sim_file_system site_;
    byte_vector content_;
    world world_;
    std::optional<receiver_host> honest_;
    std::optional<hostile_site> hostile_;
    std::optional<sender_host> sender_;
    int inputs_ = 0;
    std::size_t ops_ = 0;
    int verifying_ = 0;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    static const prepared begin;
    static std::unique_ptr<standing> sender;
    static history kept;
    if (!sender || sender->spent()) {
        sender.reset();
        sender = std::make_unique<standing>(begin);
        kept.forget();
    }
    kept.add(data, size);
    input in(data, size);
    sender->meet(in);
    return 0;
}
