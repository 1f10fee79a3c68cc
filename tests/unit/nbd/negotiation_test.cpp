#include "replicator/base/limits.hpp"
#include "replicator/nbd/negotiation.hpp"
#include "tests/unit/nbd/client.hpp"

using namespace farshore;
using namespace farshore::nbd;
using namespace farshore::nbd::test;
using outcome = negotiation::outcome;

namespace {

struct talk {
    talk() {
        static_cast<memory_device &>(*exports[1].device).dirty_context = false;
        static_cast<memory_device &>(*exports[1].device).writable = false;
    }
    std::vector<export_entry> exports{{"data", "a disk", std::make_shared<memory_device>(1 << 20)},
                                      {"frozen", "", std::make_shared<memory_device>(4097)}};
    negotiation state{exports};

    /// All replies to one option, checked for their frame.
    std::vector<option_reply> ask(std::uint32_t option, bytes_view data = {},
                                  outcome expected = outcome::more) {
        byte_vector out;
        CHECK(state.handle_option(option, data, out) == expected);
        std::vector<option_reply> replies;
        byte_reader in(out);
        while (!in.at_end()) {
            const auto header = in.structure<option_reply_header>();
            REQUIRE(header);
            CHECK(header->magic == option_reply_magic);
            CHECK(header->option == option);
            const auto body = in.bytes(header->length);
            REQUIRE(body);
            replies.push_back({header->type, byte_vector(body->begin(), body->end())});
        }
        return replies;
    }
    std::uint32_t refusal(std::uint32_t option, bytes_view data = {}) {
        const auto replies = ask(option, data);
        REQUIRE(replies.size() == 1);
        return replies[0].type;
    }
    /// Names in the replies of a meta context option.
    std::vector<std::string> contexts(std::uint32_t option, std::string_view name,
                                      std::vector<std::string_view> queries) {
        const auto replies = ask(option, raw_client::meta_data(name, std::move(queries)));
        REQUIRE(replies.back().type == reply_ack);
        std::vector<std::string> names;
        for (std::size_t i = 0; i + 1 < replies.size(); ++i) {
            CHECK(replies[i].type == reply_meta_context);
            names.emplace_back(as_text(bytes_view(replies[i].data).subspan(4)));
        }
        return names;
    }
};

const std::string allocation(meta_name_allocation);
const std::string dirty(meta_name_dirty);
using names = std::vector<std::string>;

} // namespace

TEST_SUITE("nbd negotiation") {
    TEST_CASE("nbd negotiation: LIST names every export, with its description") {
        talk t;
        const auto replies = t.ask(option_list);
        REQUIRE(replies.size() == 3);
        CHECK(replies[0].type == reply_server);
        CHECK(as_text(bytes_view(replies[0].data).subspan(4)) == "dataa disk");
        CHECK(as_text(bytes_view(replies[1].data).subspan(4)) == "frozen");
        CHECK(replies[2].type == reply_ack);
        CHECK(t.refusal(option_list, as_bytes("x")) == reply_err_invalid);
    }

    TEST_CASE("nbd negotiation: INFO tells size, flags and block sizes and stays; GO goes on") {
        talk t;
        const auto data =
            raw_client::info_data("frozen", {info_name, info_name, info_description, 99});
        const auto info = t.ask(option_info, data);
        REQUIRE(info.size() == 5);
        const auto exported = read_struct<export_info>(info[0].data);
        REQUIRE(exported);
        CHECK(exported->size == 4097);
        CHECK(exported->flags == transmission_flags(true, false));
        CHECK(as_text(bytes_view(info[1].data).subspan(2)) == "frozen");
        const auto sizes = read_struct<block_size_info>(info[3].data);
        REQUIRE(sizes);
        CHECK(sizes->minimum == 1);
        CHECK(sizes->preferred == 4096);
        CHECK(sizes->maximum == 32 * limits::MiB);

        t.ask(option_structured_reply);
        t.ask(option_go, raw_client::info_data("data"), outcome::transmit);
        CHECK(t.state.chosen().name == "data");
        CHECK(t.state.facts().structured);
        CHECK(t.state.facts().size == 1 << 20);
        CHECK_FALSE(t.state.facts().read_only);
    }

    TEST_CASE(
        "nbd negotiation: an unknown export is refused by INFO and GO, and closes EXPORT_NAME") {
        talk t;
        CHECK(t.refusal(option_info, raw_client::info_data("nope")) == reply_err_unknown);
        CHECK(t.refusal(option_go, raw_client::info_data("nope")) == reply_err_unknown);
        CHECK(t.ask(option_export_name, as_bytes("nope"), outcome::refuse).empty());
    }

    TEST_CASE("nbd negotiation: EXPORT_NAME answers with zeroes unless the client waived them") {
        for (const bool waived : {false, true}) {
            talk t;
            CHECK(t.state.accept_client_flags(waived ? client_flags_known
                                                     : handshake_fixed_newstyle));
            byte_vector out;
            CHECK(t.state.handle_option(option_export_name, as_bytes("data"), out) ==
                  outcome::transmit);
            CHECK(out.size() == sizeof(export_name_answer) + (waived ? 0 : export_name_zeroes));
            CHECK(read_struct<export_name_answer>(out)->size == 1 << 20);
        }
    }

    TEST_CASE("nbd negotiation: unknown client flags end it; unknown options are answered") {
        talk t;
        CHECK_FALSE(t.state.accept_client_flags(4));
        for (const std::uint32_t option : {0U, 4U, 5U, 11U, 12U, 0x7fffffffU, UINT32_MAX}) {
            CHECK(t.refusal(option, as_bytes("anything")) == reply_err_unsup);
        }
        CHECK(t.ask(option_abort, {}, outcome::finish)[0].type == reply_ack);
    }

    TEST_CASE("nbd negotiation: LIST_META_CONTEXT knows wildcards, SET takes exact names") {
        talk t;
        CHECK(t.refusal(option_list_meta_context, raw_client::meta_data("data", {})) ==
              reply_err_invalid); // structured replies come first
        t.ask(option_structured_reply);
        const auto list = option_list_meta_context;
        CHECK(t.contexts(list, "data", {}) == names{allocation, dirty});
        CHECK(t.contexts(list, "data", {"base:"}) == names{allocation});
        CHECK(t.contexts(list, "data", {"qemu:"}) == names{dirty});
        CHECK(t.contexts(list, "data", {"qemu:dirty-bitmap:"}) == names{dirty});
        CHECK(t.contexts(list, "data", {dirty, allocation, "other:x"}) == names{allocation, dirty});
        CHECK(t.contexts(list, "data", {"qemu:allocation-depth", "base", "", ":"}).empty());
        CHECK(t.contexts(list, "frozen", {}) == names{allocation}); // it has no dirty context

        const auto set = option_set_meta_context;
        CHECK(t.contexts(set, "data", {}).empty());
        CHECK(t.contexts(set, "data", {"base:", "qemu:"}).empty());
        CHECK(t.contexts(set, "frozen", {dirty}).empty());
        CHECK(t.contexts(set, "data", {dirty}) == names{dirty});
        t.ask(option_go, raw_client::info_data("data"), outcome::transmit);
        CHECK(t.state.facts().meta_dirty);
        CHECK_FALSE(t.state.facts().meta_allocation);
    }

    TEST_CASE("nbd negotiation: what changed since a point has that point in its names") {
        talk t;
        static_cast<memory_device &>(*t.exports[0].device).since = "17";
        t.ask(option_structured_reply);
        const std::string bitmap = "qemu:dirty-bitmap:since-17";
        const std::string changed = "farshore:changed-since:17";
        const auto list = option_list_meta_context;
        CHECK(t.contexts(list, "data", {}) == names{allocation, bitmap, changed});
        CHECK(t.contexts(list, "data", {"qemu:"}) == names{bitmap});
        CHECK(t.contexts(list, "data", {"farshore:"}) == names{changed});
        const auto set = option_set_meta_context;
        CHECK(t.contexts(set, "data", {dirty, "farshore:changed-since:16"}).empty());
        CHECK(t.contexts(set, "data", {changed}) == names{changed});
        t.ask(option_go, raw_client::info_data("data"), outcome::transmit);
        CHECK(t.state.facts().meta_changed);
        CHECK_FALSE(t.state.facts().meta_dirty);
    }

    TEST_CASE("nbd negotiation: no name is the only export, and none of several") {
        talk t;
        const std::vector<export_entry> both = t.exports;
        t.ask(option_structured_reply);
        for (const std::uint32_t option : {option_info, option_go}) {
            const auto refused = t.ask(option, raw_client::info_data(""));
            REQUIRE(refused.size() == 1);
            CHECK(refused[0].type == reply_err_unknown);
            CHECK(as_text(refused[0].data) == "name the export to use; there are 'data', 'frozen'");
        }
        for (const std::uint32_t option : {option_list_meta_context, option_set_meta_context}) {
            CHECK(t.refusal(option, raw_client::meta_data("", {allocation})) == reply_err_unknown);
        }
        CHECK(t.ask(option_export_name, {}, outcome::refuse).empty());

        t.exports = {both[1]};
        t.state = negotiation(t.exports);
        t.ask(option_structured_reply);
        CHECK(t.contexts(option_set_meta_context, "frozen", {allocation}) == names{allocation});
        t.ask(option_go, raw_client::info_data(""), outcome::transmit); // by another name
        CHECK(t.state.chosen().name == "frozen");
        CHECK(t.state.facts().meta_allocation);
    }

    TEST_CASE("nbd negotiation: a refusal names exports as far as a string of the protocol goes") {
        talk t;
        CHECK(as_text(t.ask(option_info, raw_client::info_data("nope"))[0].data) ==
              "no such export; there are 'data', 'frozen'");
        for (int i = 0; i < 2000; ++i) {
            t.exports.push_back({"volume-" + std::to_string(i), "", t.exports[0].device});
        }
        t.state = negotiation(t.exports);
        const auto refused = t.ask(option_info, raw_client::info_data(""));
        CHECK(refused[0].data.size() > 4000);
        CHECK(refused[0].data.size() <= 4096);
        CHECK(as_text(refused[0].data).ends_with(", ..."));
    }

    TEST_CASE("nbd negotiation: contexts hold for their own export and are lost by a failed SET") {
        talk t;
        t.ask(option_structured_reply);
        t.contexts(option_set_meta_context, "frozen", {allocation});
        SUBCASE("another export") {
            t.ask(option_go, raw_client::info_data("data"), outcome::transmit);
        }
        SUBCASE("unknown export") {
            CHECK(t.refusal(option_set_meta_context, raw_client::meta_data("no", {allocation})) ==
                  reply_err_unknown);
            t.ask(option_go, raw_client::info_data("frozen"), outcome::transmit);
        }
        SUBCASE("garbage") {
            CHECK(t.refusal(option_set_meta_context, as_bytes("xyz")) == reply_err_invalid);
            t.ask(option_go, raw_client::info_data("frozen"), outcome::transmit);
        }
        CHECK_FALSE(t.state.facts().meta_allocation);
    }

    TEST_CASE("nbd negotiation: names of 4096 bytes are looked up, longer ones refused") {
        talk t;
        t.ask(option_structured_reply);
        const std::string longest(limits::nbd_export_name_max, 'n');
        t.exports.push_back({longest, "", t.exports[0].device});
        t.state = negotiation(t.exports);
        t.ask(option_structured_reply);
        CHECK(t.ask(option_info, raw_client::info_data(longest)).back().type == reply_ack);
        CHECK(t.refusal(option_info, raw_client::info_data(longest + "n")) == reply_err_too_big);
        CHECK(t.contexts(option_list_meta_context, longest, {longest}).empty());
        CHECK(t.refusal(option_list_meta_context, raw_client::meta_data("data", {longest + "n"})) ==
              reply_err_too_big);
        CHECK(t.ask(option_export_name, as_bytes(longest + "n"), outcome::refuse).empty());
        byte_vector out;
        CHECK(t.state.handle_option(option_export_name, as_bytes(longest), out) ==
              outcome::transmit);
    }

    TEST_CASE("nbd negotiation: lengths and counts that don't add up are refused") {
        talk t;
        t.ask(option_structured_reply);
        const byte_vector info = raw_client::info_data("data", {info_name, info_block_size});
        for (std::size_t n = 0; n < info.size(); ++n) {
            CHECK((t.refusal(option_go, bytes_view(info).first(n)) & reply_error_bit) != 0);
        }
        byte_vector longer = info;
        longer.push_back(std::byte{0});
        CHECK(t.refusal(option_go, longer) == reply_err_invalid);

        const byte_vector meta = raw_client::meta_data("data", {"base:allocation", "x"});
        for (std::size_t n = 0; n < meta.size(); ++n) {
            CHECK((t.refusal(option_set_meta_context, bytes_view(meta).first(n)) &
                   reply_error_bit) != 0);
        }
        longer = meta;
        longer.push_back(std::byte{0});
        CHECK(t.refusal(option_set_meta_context, longer) == reply_err_invalid);
        byte_vector evil = raw_client::meta_data("data", {});
        write_struct(bytes_span(evil).last(4),
                     be32(UINT32_MAX)); // four billion queries, none there
        CHECK(t.refusal(option_set_meta_context, evil) == reply_err_invalid);
    }
}
