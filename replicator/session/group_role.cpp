#include "replicator/session/group_role.hpp"

#include "replicator/base/hash.hpp"
#include "replicator/session/trust.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>

namespace farshore {

using json = nlohmann::json;

namespace {

constexpr int role_version = 1;

std::string hex_of(std::uint64_t value) { return fmt::format("{:016x}", value); }

std::uint64_t number_of(const json &text) {
    const std::string digits = text.get<std::string>();
    std::uint64_t value = 0;
    const char *end = digits.data() + digits.size();
    const auto [rest, why] = std::from_chars(digits.data(), end, value, 16);
    if (why != std::errc{} || rest != end) {
        throw json::other_error::create(501, "no number: " + digits, nullptr);
    }
    return value;
}

template <class Enum, std::size_t N>
Enum named_one(const json &value, const std::array<Enum, N> &all) {
    const std::string name = value.get<std::string>();
    const auto at = std::ranges::find_if(all, [&](Enum e) { return name_of(e) == name; });
    if (at == all.end()) {
        throw json::other_error::create(501, "nothing is called " + name, nullptr);
    }
    return *at;
}

json lineage_of(const lineage &ancestry) {
    json list = json::array();
    for (const generation &g : ancestry.generations()) {
        list.push_back({{"id", hex_of(g.id.value)},
                        {"left_stream", hex_of(g.left.stream.value)},
                        {"left_interval", g.left.interval.value}});
    }
    return list;
}

std::vector<generation> generations_of(const json &list) {
    std::vector<generation> all;
    for (const json &g : list) {
        all.push_back({generation_id{number_of(g.at("id"))},
                       {stream_id{number_of(g.at("left_stream"))},
                        interval_id{g.at("left_interval").get<std::uint64_t>()}}});
    }
    return all;
}

result<group_role> role_of(const json &j) {
    group_role r;
    r.state.role = named_one(j.at("role"), site_roles);
    r.state.trial = named_one(j.at("trial"), promotion_trials);
    FS_TRY(ancestry, lineage::of(generations_of(j.at("lineage"))));
    r.state.ancestry = std::move(ancestry);
    r.state.offered = generation_id{number_of(j.at("offered"))};
    r.state.offers = j.at("offers").get<std::uint64_t>();
    r.state.void_upto = j.at("void_upto").get<std::uint64_t>();
    const json &serving = j.at("serving");
    r.serving.since =
        wall_time(std::chrono::milliseconds(serving.at("since_ms").get<std::int64_t>()));
    r.serving.point = interval_id{serving.at("point").get<std::uint64_t>()};
    r.serving.back_to = interval_id{serving.at("back_to").get<std::uint64_t>()};
    r.leave_as = j.at("leave_as").get<std::string>();
    return r;
}

} // namespace

std::string text_of(generation_id id) { return hex_of(id.value); }

std::string text_of(const group_role &r) {
    const auto since = r.serving.since.time_since_epoch();
    const json j = {
        {"version", role_version},
        {"role", name_of(r.state.role)},
        {"trial", name_of(r.state.trial)},
        {"lineage", lineage_of(r.state.ancestry)},
        {"offered", hex_of(r.state.offered.value)},
        {"offers", r.state.offers},
        {"void_upto", r.state.void_upto},
        {"serving",
         {{"since_ms", std::chrono::duration_cast<std::chrono::milliseconds>(since).count()},
          {"point", r.serving.point.value},
          {"back_to", r.serving.back_to.value}}},
        {"leave_as", r.leave_as}};
    return j.dump(2) + "\n";
}

result<group_role> read_group_role(file_system &files, const std::string &path,
                                   group_role otherwise) {
    FS_TRY(present, files.exists(path));
    if (!present) {
        return otherwise;
    }
    FS_TRY(bytes, files.read_file(path));
    const json j = json::parse(as_text(bytes), nullptr, false);
    const std::string what_to_do = "it says whether this site serves or follows: bring it back "
                                   "from a backup, or set the group up anew at this site";
    try {
        if (const int version = j.at("version").get<int>(); version != role_version) {
            return fail(errc::unsupported, fmt::format("{}: version {}, this program knows {}",
                                                       path, version, role_version));
        }
        auto read = role_of(j);
        if (read) {
            return read;
        }
        return fail(errc::corrupt,
                    fmt::format("{}: {}; {}", path, read.error().text(), what_to_do));
    } catch (const json::exception &) { // also when it is no object
        return fail(errc::corrupt, fmt::format("{} can't be read; {}", path, what_to_do));
    }
}

generation_id fresh_generation() {
    generation_id id;
    while (id.value == 0) {
        id.value = random_u64();
    }
    return id;
}

generation_id first_generation(const wire::id16 &primary, const std::string &group) {
    byte_vector named(primary.begin(), primary.end());
    const bytes_view name = as_bytes(group);
    named.insert(named.end(), name.begin(), name.end());
    const std::uint64_t id = checksum64(named);
    return generation_id{id == 0 ? 1 : id};
}

std::optional<generation_status> generation_of(const role_state &s) {
    if (s.ancestry.blank()) {
        return std::nullopt;
    }
    const auto &all = s.ancestry.generations();
    const generation &newest = all.back();
    return generation_status{text_of(newest.id),
                             all.size() > 1 ? text_of(all[all.size() - 2].id) : "",
                             newest.left.interval};
}

wire::site_claim claim_message(const role_state &s) {
    wire::site_claim m;
    m.role = static_cast<std::uint8_t>(s.role);
    for (const generation &g : s.ancestry.generations()) {
        m.lineage.push_back({g.id.value, g.left});
    }
    m.offer = s.offered.value;
    m.offers = s.offers;
    m.void_upto = s.void_upto;
    return m;
}

result<role_state> role_of_claim(const wire::site_claim &claim) {
    role_state s;
    s.role = static_cast<site_role>(claim.role); // 0..3, the parser looked
    std::vector<generation> all;
    for (const wire::generation_entry &g : claim.lineage) {
        all.push_back({generation_id{g.id.value}, g.left});
    }
    auto ancestry = lineage::of(std::move(all));
    if (!ancestry) {
        return fail_peer(errc::corrupt, "site_claim.lineage: " + ancestry.error().text());
    }
    s.ancestry = std::move(*ancestry);
    s.offered = generation_id{claim.offer.value};
    s.offers = claim.offers;
    s.void_upto = claim.void_upto;
    return s;
}

} // namespace farshore
