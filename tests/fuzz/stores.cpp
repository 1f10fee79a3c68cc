// Both daemons on state directories that somebody damaged while they were stopped: files flipped,
// cut, swapped, doubled, removed, emptied; of every kind that they keep (segments of journal, spool
// and both undo logs, packed history, group.state, group.volumes, loans, dirty maps, capture.state,
// trust and settings).
//   - a daemon that does not start says why and changes nothing that was durable elsewhere;
//   - one that starts answers, and each point that it lists opens with what the group held then;
//   - where the primary's state was damaged after a stop in order and its daemon starts, `wait`
// makes     both sites equal.

#include "replicator/storage/block_device.hpp"
#include "tests/fuzz/session_hosts.hpp"

#include <map>

using namespace farshore;
using namespace farshore::fuzz;

namespace {

constexpr std::size_t changes_max = 6;

void collect(file_system &files, const std::string &directory, std::vector<std::string> &out) {
    const auto names = files.list(directory);
    if (!names) {
        out.push_back(directory);
        return;
    }
    for (const std::string &name : *names) {
        collect(files, join_path(directory, name), out);
    }
}

byte_vector read_whole(file_system &files, const std::string &path) {
    auto f = files.open(path, open_mode::read);
    REPL_ASSERT(f);
    const auto size = (*f)->size();
    REPL_ASSERT(size);
    byte_vector out(*size);
    REPL_ASSERT((*f)->read_at(0, out));
    return out;
}
void write_whole(file_system &files, const std::string &path, bytes_view content) {
    auto f = files.open(path, open_mode::create);
    REPL_ASSERT(f && (*f)->truncate(0) && (*f)->truncate(content.size()) &&
                (*f)->write_at(0, content));
    REPL_ASSERT((*f)->sync_data() && files.sync_directory(parent_path(path)));
}

/// The next name in a directory of segments, so that a copy there is found.
std::string segment_after(const std::string &path) {
    const std::size_t dot = path.rfind(".seg");
    if (dot == std::string::npos || dot < 10) {
        return path + ".copy";
    }
    std::string number = std::to_string(std::stoull(path.substr(dot - 10, 10)) + 1);
    number.insert(0, 10 - number.size(), '0');
    return path.substr(0, dot - 10) + number + ".seg";
}

void change_one(file_system &files, const std::vector<std::string> &paths, input &in) {
    const std::string &path = paths[in.two() % paths.size()];
    byte_vector bytes = read_whole(files, path);
    switch (in.byte() % 8) {
    case 0:
    case 1:
    case 2:
        if (!bytes.empty()) {
            bytes[(in.two() | in.two() << 16) % bytes.size()] ^=
                static_cast<std::byte>(1 + in.byte() % 255);
        }
        break;
    case 3:
        bytes.resize(bytes.empty() ? 0 : (in.two() | in.two() << 16) % bytes.size());
        break;
    case 4: {
        const std::string &other = paths[in.two() % paths.size()];
        const byte_vector there = read_whole(files, other);
        write_whole(files, other, bytes);
        bytes = there;
        break;
    }
    case 5:
        write_whole(files, segment_after(path), bytes);
        return;
    case 6:
        REPL_ASSERT(files.remove(path));
        return;
    default:
        if (!bytes.empty()) { // a stretch of noise
            const std::size_t at = (in.two() | in.two() << 16) % bytes.size();
            const byte_vector noise = in.bytes(std::min<std::size_t>(in.byte(), bytes.size() - at));
            std::copy(noise.begin(), noise.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
        }
    }
    write_whole(files, path, bytes);
}

void damage(sim_file_system &disk, input &in) {
    auto files = disk.process();
    std::vector<std::string> paths;
    collect(*files, "/state", paths);
    for (std::size_t i = 0; i <= in.byte() % changes_max; ++i) {
        // What an earlier change removed is looked for anew.
        std::erase_if(paths,
                      [&](const std::string &p) { return !files->exists(p).value_or(false); });
        if (!paths.empty()) {
            change_one(*files, paths, in);
        }
    }
}

/// Both sites stopped in order, in sync, with a few points; and what each barrier held.
struct prepared {
    sim_file_system primary{1};
    sim_file_system site{2};
    byte_vector content = byte_vector(volume_bytes);
    std::map<std::string, byte_vector> at; ///< by point

    prepared() {
        make_disks(primary, site);
        world w;
        sender_host s(w, primary, "boot", address);
        receiver_host r(w, site, address);
        pair_both(w, s, r);
        for (int i = 0; i < 8; ++i) {
            const byte_vector bytes(9000, static_cast<std::byte>(i + 1));
            const int where = i % 4 * 7000;
            REPL_ASSERT(s.device("shop")->write(static_cast<std::uint64_t>(where), bytes, false));
            std::copy(bytes.begin(), bytes.end(), content.begin() + where);
            const auto waited = w.await(s.engine.wait("shop", false, std::chrono::seconds(60)));
            REPL_ASSERT(waited);
            at[std::to_string(waited->barrier.value)] = content;
        }
        w.pass(std::chrono::seconds(40)); // commits, and packing
        const auto packed = site.list("/state/groups/shop/packed");
        REPL_ASSERT(packed && !packed->empty());
    }
};

void look_at_points(world &w, receiver_host &r, const prepared &from) {
    const auto points = w.await(r.engine.points("shop"));
    if (!points) {
        return; // said so
    }
    for (const point_info &p : *points) {
        auto devices = w.await(receiver_access::open_devices(r.engine, "shop", p.id));
        if (!devices || !from.at.contains(p.id)) {
            continue;
        }
        byte_vector out(volume_bytes);
        if (devices->front()->read(0, out)) { // an error is honest, another content is not
            REPL_ASSERT(out == from.at.at(p.id));
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    static const prepared from;
    input in(data, size);
    const bool at_site = in.byte() % 2 == 0;
    sim_file_system primary(from.primary);
    sim_file_system site(from.site);
    damage(at_site ? site : primary, in);
    world w;
    std::optional<receiver_host> r;
    r.emplace(w, site, address, may_fail::yes);
    if (r->started()) {
        w.pass(std::chrono::seconds(2));
        look_at_points(w, *r, from);
    }
    std::optional<sender_host> s;
    s.emplace(w, primary, in.byte() % 2 == 0 ? "boot" : "boot 2", address, may_fail::yes);
    if (r->started() && s->started() && s->serves("shop") && s->paired()) {
        byte_vector now(volume_bytes);
        REPL_ASSERT(s->device("shop")->read(0, now) && now == from.content);
        const auto waited = w.await(s->engine.wait("shop", false, std::chrono::seconds(60)),
                                    std::chrono::minutes(2));
        if (waited) {
            auto image = site.open("/srv/shop/data.img", open_mode::read);
            byte_vector copy(volume_bytes);
            REPL_ASSERT(image && (*image)->read_at(0, copy));
            REPL_ASSERT(copy == now);
            look_at_points(w, *r, from);
        }
    }
    return 0;
}
