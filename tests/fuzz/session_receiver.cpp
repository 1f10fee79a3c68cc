// A whole receiver driven by a paired sender that keeps no rule: messages and frames of any order
// and value on control and data links, mixed with good intervals, over the in-memory network and a
// simulated disk. Afterwards:
//   - the daemon answers, and its calls return;
//   - the other group is what it was;
//   - every point that is kept opens, and holds what the good intervals up to it made, as long as no
//     bad frame was given right checksums;
//   - opened anew from its disk after a power cut, the copy has the same newest durable barrier and
//     points of it that open.
// The fuzzer's -rss_limit_mb and -malloc_limit_mb bound the bytes.

#include "replicator/session/trust.hpp"
#include "tests/fuzz/session_model.hpp"
#include "tests/fuzz/session_world.hpp"

#include <set>

using namespace farshore;
using namespace farshore::fuzz;

namespace {

/// Small, as nearly all that happens costs time by its bytes; the last block is a short one.
constexpr std::uint64_t small_volume_bytes = 18 * limits::KiB;
constexpr std::size_t ops_max = 64;
constexpr int intervals_before = 3;
using primary = session_model;

/// Which intervals of the model a copy must hold as they are. An interval of changes says nothing
/// when the one before was lost or bent: the sender lied then, until it ships everything.
struct truth {
    std::set<std::uint64_t> known;
    bool unbroken = true;
    bool comparable = true; ///< no bad frame was given right checksums
    bool may_seal = true;   ///< bad frames may be given right checksums
    void add(interval_id id) {
        if (unbroken) {
            known.insert(id.value);
        }
    }
};

receiver_config configuration() {
    receiver_config config;
    config.state = "/state";
    config.listen = address;
    config.memory_bytes_max = 24 * limits::MiB;
    for (const char *name : {"shop", "mail"}) {
        receiver_group_config group;
        group.name = name;
        group.replica = std::string("/srv/") + name;
        group.journal_bytes_max = 16 * limits::MiB;
        group.retain = {{duration{}, std::chrono::seconds(20), "all for 20 s"},
                        {std::chrono::seconds(10), std::chrono::minutes(2), "10 s for 2 min"}};
        config.groups.push_back(group);
    }
    return config;
}

struct host {
    host(world &w, sim_file_system &disk)
        : world_(w), engine(configuration(), w.run(), disk, {w.io.get_executor()}) {
        receiver_access::set_network(
            engine, std::make_unique<sim::sim_network>(w.line, receiver_fingerprint, ""));
        REPL_ASSERT(w.await(engine.start()));
    }
    ~host() { world_.await(engine.stop(duration{})); }
    receiver_group_status status(const std::string &group) const {
        for (receiver_group_status &s : engine.status()) {
            if (s.name == group) {
                return s;
            }
        }
        REPL_ASSERT(false);
    }

    world &world_;
    receiver engine;
};

/// The highest count of damage that the receiver told.
template <class Message>
void note_damage(const transport::message &m, std::uint64_t &told) {
    if (m.type == static_cast<std::uint16_t>(Message::type)) {
        if (const auto parsed = wire::parse<Message>(m.payload.view())) {
            told = std::max(told, parsed->damage_count);
        }
    }
}
task<void> hear(std::shared_ptr<transport::link> link, std::shared_ptr<std::uint64_t> told) {
    while (const auto got = co_await link->receive()) {
        note_damage<wire::welcome>(*got, *told);
        note_damage<wire::ack>(*got, *told);
        note_damage<wire::nak>(*got, *told);
    }
}

/// A sender's session by hand.
class session {
  public:
    session(world &w, std::string group, std::string fingerprint)
        : world_(w), fingerprint_(std::move(fingerprint)) {
        hello_.group = std::move(group);
        hello_.session = 77;
        hello_.instance = 5;
        hello_.volumes = {{"data", small_volume_bytes}};
    }
    wire::hello &hello() { return hello_; }
    std::shared_ptr<transport::link> link(std::uint32_t index) {
        auto connector = world_.line.make_connector(address, transport::alpn_session, fingerprint_,
                                                    receiver_fingerprint);
        auto made = world_.await(connector->connect(std::chrono::seconds(5)));
        if (!made) {
            return nullptr;
        }
        std::shared_ptr<transport::link> l = std::move(*made);
        hello_.link = index;
        send(l, envelope_of(hello_));
        asio::co_spawn(world_.io, hear(l, damage_told_), asio::detached);
        links_.push_back(l);
        return l;
    }
    void open() {
        control = link(0);
        world_.pass(std::chrono::milliseconds(20));
        data = link(1);
        world_.pass(std::chrono::milliseconds(5));
    }
    void send(const std::shared_ptr<transport::link> &l, transport::message m) {
        if (l) {
            asio::co_spawn(world_.io, say(l, std::move(m)), asio::detached);
        }
    }
    void send_frame(buffer frame) {
        transport::message m;
        m.type = static_cast<std::uint16_t>(wire::message_type::frame);
        m.payload = std::move(frame);
        send(data, std::move(m));
    }
    void begin(stream_position after, std::uint64_t stream) {
        wire::begin_stream b;
        b.stream = stream;
        b.first = after.interval.value + 1;
        send(control, envelope_of(b));
        world_.pass(std::chrono::milliseconds(5)); // frames come on another link
    }
    std::uint64_t damage_told() const { return *damage_told_; }
    void close() {
        for (const auto &l : links_) {
            l->close();
        }
        links_.clear();
    }

    std::shared_ptr<transport::link> control, data;

  private:
    world &world_;
    std::string fingerprint_;
    wire::hello hello_;
    std::shared_ptr<std::uint64_t> damage_told_ = std::make_shared<std::uint64_t>(0);
    std::vector<std::shared_ptr<transport::link>> links_;
};

/// Both groups paired, with a copy of a few intervals each.
struct prepared {
    sim_file_system disk{1};
    primary shop{1, small_volume_bytes};
    primary mail{2, small_volume_bytes};

    prepared() {
        world w;
        REPL_ASSERT(disk.make_directories("/state") && disk.make_directories("/srv"));
        {
            host h(w, disk);
            for (const char *group : {"shop", "mail"}) {
                auto invited = w.await(h.engine.invite(group, address));
                REPL_ASSERT(invited);
                const auto token = parse_token(invited->token);
                REPL_ASSERT(token);
                auto connector = w.line.make_connector(
                    address, transport::alpn_join,
                    group == std::string("shop") ? sender_fingerprint : other_fingerprint,
                    receiver_fingerprint);
                auto link = w.await(connector->connect(std::chrono::seconds(5)));
                REPL_ASSERT(link);
                wire::join_request request;
                request.group = group;
                request.secret = token->secret;
                REPL_ASSERT(w.await((*link)->send(envelope_of(request))));
                const auto reply = w.await((*link)->receive());
                REPL_ASSERT(reply && wire::parse<wire::join_reply>(reply->payload.view())->ok);
                primary &model = group == std::string("shop") ? shop : mail;
                session s(w, group,
                          group == std::string("shop") ? sender_fingerprint : other_fingerprint);
                s.open();
                s.begin({}, 1);
                for (int i = 0; i < intervals_before; ++i) {
                    barrier commit = primary::plain();
                    commit.time = w.clock.wall();
                    for (buffer &f : model.interval(3, commit)) {
                        s.send_frame(std::move(f));
                    }
                }
                w.pass(std::chrono::seconds(7));
                REPL_ASSERT(h.status(group).points > 0);
                s.close();
                w.pass(std::chrono::milliseconds(50));
            }
        }
    }
};

/// One life of a hostile session.
class life {
  public:
    life(world &w, primary &model, truth &t, input &in)
        : world_(w), model_(model), truth_(t), in_(in) {}

    /// How many ops there were.
    std::size_t run() {
        session_.emplace(world_, "shop", sender_fingerprint);
        if (in_.byte() % 8 == 0) {
            field_chooser choose(in_);
            session_->hello().visit(choose);
        }
        session_->open();
        std::size_t ops = 0;
        for (; ops < ops_max && !in_.empty(); ++ops) {
            step();
        }
        world_.pass(std::chrono::milliseconds(50));
        session_->close();
        world_.pass(in_.byte() % 16 == 0 ? std::chrono::milliseconds(11'000)
                                         : std::chrono::milliseconds(20));
        return ops;
    }

  private:
    void step() {
        switch (in_.byte() % 12) {
        case 0:
            session_->send(session_->control, any_message(in_));
            return;
        case 1:
            session_->send(session_->data, any_message(in_));
            return;
        case 2:
            truth_.unbroken = false;
            model_.begin_stream();
            session_->begin(model_.position(), model_.stream().value);
            return;
        case 3:
        case 4:
            good_interval();
            return;
        case 5:
            everything();
            return;
        case 6:
        case 7:
            bent_interval();
            return;
        case 8:
            made_up_frame();
            return;
        case 9:
            world_.pass(std::chrono::milliseconds(in_.byte() * 10));
            return;
        case 10: // again, as the same or as another instance
            if (in_.byte() % 2 == 0) {
                session_->hello().instance = in_.byte();
            }
            session_->hello().session = 1 + in_.byte();
            session_->open();
            return;
        default:
            session_->link(in_.byte());
            return;
        }
    }
    barrier commit() {
        barrier b;
        b.time = world_.clock.wall();
        b.consistent = in_.byte() % 4 != 0;
        return b;
    }
    void good_interval() {
        for (buffer &f : model_.interval(1 + in_.byte() % 4, commit())) {
            session_->send_frame(std::move(f));
        }
        truth_.add(model_.position().interval);
    }
    void everything() {
        const stream_position before = model_.position();
        barrier b = commit();
        b.heals = session_->damage_told(); // or the copy would keep no point any more
        std::vector<buffer> frames = model_.everything(b);
        session_->begin(before, model_.stream().value);
        for (buffer &f : frames) {
            session_->send_frame(std::move(f));
        }
        truth_.unbroken = true;
        truth_.add(model_.position().interval);
    }
    // Frames of a good interval that are lost, doubled, swapped, cut or changed.
    void bent_interval() {
        std::vector<buffer> frames = model_.interval(1 + in_.byte() % 4, commit());
        truth_.unbroken = false;
        const std::size_t at = in_.byte() % frames.size();
        switch (in_.byte() % 6) {
        case 0:
            frames.erase(frames.begin() + static_cast<std::ptrdiff_t>(at));
            break;
        case 1:
            frames.push_back(buffer::copy_of(frames[at].view()));
            break;
        case 2:
            std::swap(frames.front(), frames[at]);
            break;
        case 3:
            frames[at] = buffer::copy_of(frames[at].view().first(in_.two() % frames[at].size()));
            break;
        case 4:
            frames[at].span()[in_.two() % frames[at].size()] ^=
                static_cast<std::byte>(1 + in_.byte() % 255);
            break;
        default:
            frames[at] = with_right_checksums(frames[at].view());
            break;
        }
        for (buffer &f : frames) {
            session_->send_frame(std::move(f));
        }
    }
    // A frame whose checksums are right, with any value in one of its fields (docs/formats-log.md).
    buffer with_right_checksums(bytes_view frame) {
        static constexpr std::pair<std::size_t, std::size_t> fields[] = {
            {6, 1}, {7, 1}, {8, 4}, {12, 4}, {16, 8}, {24, 8}, {32, 4}, {36, 4}, {48, 8}};
        buffer out = buffer::copy_of(frame);
        const std::size_t kind = in_.byte() % (2 * std::size(fields));
        if (kind < std::size(fields)) {
            const std::uint64_t value = in_.number();
            std::memcpy(out.data() + fields[kind].first, &value, fields[kind].second);
        } else if (out.size() > frame_header_bytes) {
            const std::size_t at =
                frame_header_bytes + in_.two() % (out.size() - frame_header_bytes);
            out.span()[at] ^= static_cast<std::byte>(1 + in_.byte() % 255);
        }
        seal(out);
        return out;
    }
    void made_up_frame() {
        frame_header header;
        header.stream = stream_id{1};
        header.interval = interval_id{1};
        buffer out = make_frame(header, in_.bytes(in_.two() % 300));
        const std::uint64_t stream = in_.byte() % 2 == 0 ? model_.stream().value : in_.number();
        const std::uint64_t interval =
            in_.byte() % 2 == 0 ? model_.position().interval.value + 1 : in_.number();
        const auto index =
            static_cast<std::uint32_t>(in_.byte() % 2 == 0 ? in_.byte() : in_.number());
        std::memcpy(out.data() + 16, &stream, sizeof stream);
        std::memcpy(out.data() + 24, &interval, sizeof interval);
        std::memcpy(out.data() + 32, &index, sizeof index);
        out.span()[6] = in_.byte() % 2 == 0 ? std::byte{1} : std::byte{2};
        out.span()[36] = static_cast<std::byte>(in_.byte());
        seal(out);
        session_->send_frame(std::move(out));
    }
    void seal(buffer &frame) {
        if (!truth_.may_seal) {
            return;
        }
        const std::uint64_t payload = checksum64(frame.view().subspan(frame_header_bytes));
        std::memcpy(frame.data() + 40, &payload, sizeof payload);
        const std::uint64_t header = checksum64(frame.view().first(56));
        std::memcpy(frame.data() + 56, &header, sizeof header);
        truth_.comparable = false;
    }

    world &world_;
    primary &model_;
    truth &truth_;
    input &in_;
    std::optional<session> session_;
};

/// Reads the points that are not in `read` and adds them: most of an input's time would go into
/// reading all of them again and again.
void check_points(world &w, host &h, const std::string &group, const primary &model, const truth &t,
                  std::set<std::string> &read) {
    const auto points = w.await(h.engine.points(group));
    REPL_ASSERT(points);
    byte_vector content(small_volume_bytes);
    for (const point_info &p : *points) {
        if (!read.insert(p.id).second) {
            continue;
        }
        auto devices = w.await(receiver_access::open_devices(h.engine, group, p.id));
        REPL_ASSERT(devices); // a point that is listed can be opened
        REPL_ASSERT(devices->front()->read(0, content));
        const auto id = interval_id{std::stoull(p.id)};
        REPL_ASSERT(!t.comparable || !t.known.contains(id.value) || model.held(id, content));
    }
}

/// A receiver that many inputs meet, one after the other: making one takes longer than an input.
/// FUZZ_HISTORY=FILE keeps the inputs of the one that stands, for fuzz_smoke_session_receiver FILE.
class standing {
  public:
    explicit standing(const prepared &from)
        : disk_(from.disk), mail_(&from.mail), model_(1, small_volume_bytes) {
        for (int i = 0; i < intervals_before; ++i) {
            model_.interval(3, primary::plain()); // as it was when the disks were made
            truth_.add(model_.position().interval);
        }
        host_.emplace(world_, disk_);
    }
    bool spent() const { return inputs_ == inputs_max || ops_ >= ops_in_all; }
    void meet(input &in) {
        if (++inputs_ == 1) { // in half of the lives, or nothing would ever be comparable
            truth_.may_seal = in.number_of_all() % 2 == 0;
        }
        ops_ += life(world_, model_, truth_, in).run();
        const auto mail = host_->status("mail");
        REPL_ASSERT(mail.state == receiver_state::following && !mail.error);
        if (ops_ >= next_look_) {
            next_look_ = ops_ + look_every;
            check_points(world_, *host_, "shop", model_, truth_, read_);
            std::set<std::string> none_read;
            check_points(world_, *host_, "mail", *mail_, truth_of_mail(), none_read);
        }
        if (spent()) {
            cut_power(in.byte());
        }
    }

  private:
    static constexpr int inputs_max = 256;
    static constexpr std::size_t ops_in_all = 1024;
    static constexpr std::size_t look_every = 256; ///< ops

    static truth truth_of_mail() {
        truth t;
        for (int i = 1; i <= intervals_before; ++i) {
            t.known.insert(static_cast<std::uint64_t>(i));
        }
        return t;
    }
    void cut_power(std::uint64_t seed) {
        const auto before = host_->status("shop").durable_barrier;
        disk_.power_cut(seed);
        host_.reset();
        world after;
        host h(after, disk_);
        after.pass(std::chrono::seconds(2));
        const auto shop = h.status("shop");
        REPL_ASSERT(!before || (shop.durable_barrier && shop.durable_barrier->id >= before->id));
        std::set<std::string> none_read;
        check_points(after, h, "shop", model_, truth_, none_read); // all
    }

    sim_file_system disk_;
    const primary *mail_;
    primary model_;
    truth truth_;
    std::set<std::string> read_; ///< points of shop
    world world_;
    std::optional<host> host_;
    int inputs_ = 0;
    std::size_t ops_ = 0;
    std::size_t next_look_ = look_every;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    static const prepared begin;
    static std::unique_ptr<standing> receiver;
    static history kept;
    if (!receiver || receiver->spent()) {
        receiver = std::make_unique<standing>(begin);
        kept.forget();
    }
    kept.add(data, size);
    input in(data, size);
    receiver->meet(in);
    return 0;
}
