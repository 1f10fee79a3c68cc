#include "replicator/nbd/negotiation.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/limits.hpp"
#include "replicator/format/nbd_protocol.hpp"

#include <algorithm>

namespace farshore::nbd {

namespace {

constexpr std::size_t refusal_text_max = 4096; ///< any string of the protocol
constexpr std::uint32_t block_minimum = 1;
constexpr std::uint32_t block_preferred = 4096;
constexpr std::uint32_t block_maximum = limits::nbd_request_bytes_max;

void reply(byte_vector &out, std::uint32_t option, std::uint32_t type, bytes_view data = {}) {
    option_reply_header header;
    header.option = option;
    header.type = type;
    header.length = static_cast<std::uint32_t>(data.size());
    append_struct(out, header);
    append_bytes(out, data);
}

/// Errors carry a sentence for the person at the client.
void refuse(byte_vector &out, std::uint32_t option, std::uint32_t type, std::string_view why) {
    reply(out, option, type, as_bytes(why));
}

void refuse_parse(byte_vector &out, std::uint32_t option, const error &e) {
    refuse(out, option, is(e, errc::limit) ? reply_err_too_big : reply_err_invalid, e.context);
}

void reply_text_info(byte_vector &out, std::uint32_t option, std::uint16_t type,
                     std::string_view text) {
    byte_vector data;
    append_struct(data, be16(type));
    append_bytes(data, as_bytes(text.substr(0, limits::nbd_export_name_max)));
    reply(out, option, reply_info, data);
}

void reply_context(byte_vector &out, std::uint32_t option, std::uint32_t id,
                   std::string_view name) {
    byte_vector data;
    append_struct(data, be32(id));
    append_bytes(data, as_bytes(name));
    reply(out, option, reply_meta_context, data);
}

/// LIST also takes a namespace or a prefix that ends in a colon.
bool asks_for(std::string_view query, std::string_view context, bool wildcards) {
    return query == context || (wildcards && query.ends_with(':') && context.starts_with(query));
}

} // namespace

bool negotiation::accept_client_flags(std::uint32_t flags) {
    no_zeroes_ = (flags & handshake_no_zeroes) != 0;
    return (flags & ~client_flags_known) == 0;
}

negotiation::outcome negotiation::handle_option(std::uint32_t option, bytes_view data,
                                                byte_vector &out) {
    REPL_ASSERT(data.size() <= limits::nbd_option_bytes_max);
    switch (option) {
    case option_export_name:
        return choose_by_name(data, out);
    case option_abort:
        reply(out, option, reply_ack);
        return outcome::finish;
    case option_list:
        if (!data.empty()) {
            refuse(out, option, reply_err_invalid, "LIST takes no data");
        } else {
            reply_list(out);
        }
        return outcome::more;
    case option_info:
    case option_go:
        return inform(option, data, out);
    case option_structured_reply:
        if (!data.empty()) {
            refuse(out, option, reply_err_invalid, "STRUCTURED_REPLY takes no data");
        } else {
            structured_ = true;
            reply(out, option, reply_ack);
        }
        return outcome::more;
    case option_list_meta_context:
    case option_set_meta_context:
        meta_context(option, data, out);
        return outcome::more;
    default:
        refuse(out, option, reply_err_unsup, "option not supported");
        return outcome::more;
    }
}

void negotiation::refuse_size(std::uint32_t option, byte_vector &out) {
    refuse(out, option, reply_err_too_big, "option data too long");
}

const export_entry *negotiation::find(std::string_view name) const {
    const auto at = std::ranges::find(exports_, name, &export_entry::name);
    if (at != exports_.end()) {
        return &*at;
    }
    return name.empty() && exports_.size() == 1 ? &exports_.front() : nullptr;
}

void negotiation::refuse_name(byte_vector &out, std::uint32_t option, std::string_view name) const {
    std::string why =
        name.empty() ? "name the export to use; there are" : "no such export; there are";
    for (const export_entry &entry : exports_) {
        if (why.size() + entry.name.size() + 8 > refusal_text_max) {
            why += ", ...";
            break;
        }
        why += &entry == &exports_.front() ? " '" : ", '";
        why += entry.name + "'";
    }
    refuse(out, option, reply_err_unknown, why);
}

void negotiation::reply_list(byte_vector &out) const {
    for (const export_entry &entry : exports_) {
        byte_vector data;
        append_struct(data, be32(static_cast<std::uint32_t>(entry.name.size())));
        append_bytes(data, as_bytes(entry.name));
        append_bytes(data, as_bytes(entry.description));
        reply(out, option_list, reply_server, data);
    }
    reply(out, option_list, reply_ack);
}

negotiation::outcome negotiation::choose_by_name(bytes_view data, byte_vector &out) {
    const export_entry *entry =
        data.size() <= limits::nbd_export_name_max ? find(as_text(data)) : nullptr;
    if (entry == nullptr) {
        return outcome::refuse; // this old option has no error reply
    }
    choose(*entry);
    export_name_answer answer;
    answer.size = entry->device->size();
    answer.flags = transmission_flags(entry->device->read_only(), structured_);
    append_struct(out, answer);
    if (!no_zeroes_) {
        out.resize(out.size() + export_name_zeroes);
    }
    return outcome::transmit;
}

negotiation::outcome negotiation::inform(std::uint32_t option, bytes_view data, byte_vector &out) {
    const auto asked = parse_info_option(data);
    if (!asked) {
        refuse_parse(out, option, asked.error());
        return outcome::more;
    }
    const export_entry *entry = find(asked->export_name);
    if (entry == nullptr) {
        refuse_name(out, option, asked->export_name);
        return outcome::more;
    }
    export_info info;
    info.size = entry->device->size();
    info.flags = transmission_flags(entry->device->read_only(), structured_);
    reply(out, option, reply_info, struct_bytes(info));
    // One answer a kind, however often it was asked for.
    const auto wants = [&](std::uint16_t type) {
        return std::ranges::find(asked->requests, type) != asked->requests.end();
    };
    if (wants(info_name)) {
        reply_text_info(out, option, info_name, entry->name);
    }
    if (wants(info_description)) {
        reply_text_info(out, option, info_description, entry->description);
    }
    block_size_info sizes;
    sizes.minimum = block_minimum;
    sizes.preferred = block_preferred;
    sizes.maximum = block_maximum;
    reply(out, option, reply_info, struct_bytes(sizes));
    reply(out, option, reply_ack);
    if (option == option_info) {
        return outcome::more;
    }
    choose(*entry);
    return outcome::transmit;
}

void negotiation::meta_context(std::uint32_t option, bytes_view data, byte_vector &out) {
    const bool set = option == option_set_meta_context;
    if (set) { // a failed SET leaves nothing chosen
        meta_export_ = nullptr;
        meta_allocation_ = meta_dirty_ = meta_changed_ = false;
    }
    if (!structured_) {
        refuse(out, option, reply_err_invalid, "structured replies come first");
        return;
    }
    const auto asked = parse_meta_option(data);
    if (!asked) {
        refuse_parse(out, option, asked.error());
        return;
    }
    const export_entry *entry = find(asked->export_name);
    if (entry == nullptr) {
        refuse_name(out, option, asked->export_name);
        return;
    }
    const auto wanted = [&](std::string_view context) {
        return (!set && asked->queries.empty()) ||
               std::ranges::any_of(asked->queries, [&](std::string_view query) {
                   return asks_for(query, context, !set);
               });
    };
    const bool allocation = wanted(meta_name_allocation);
    const std::string since = entry->device->changed_since();
    const std::string dirty_name =
        since.empty() ? std::string(meta_name_dirty) : std::string(meta_name_since) + since;
    const std::string changed_name = std::string(meta_name_changed) + since;
    const bool has_dirty = entry->device->has_dirty_context();
    const bool dirty = has_dirty && wanted(dirty_name);
    const bool changed = has_dirty && !since.empty() && wanted(changed_name);
    if (allocation) {
        reply_context(out, option, set ? meta_id_allocation : 0, meta_name_allocation);
    }
    if (dirty) {
        reply_context(out, option, set ? meta_id_dirty : 0, dirty_name);
    }
    if (changed) {
        reply_context(out, option, set ? meta_id_changed : 0, changed_name);
    }
    if (set) {
        meta_export_ = entry;
        meta_allocation_ = allocation;
        meta_dirty_ = dirty;
        meta_changed_ = changed;
    }
    reply(out, option, reply_ack);
}

void negotiation::choose(const export_entry &entry) {
    chosen_ = &entry;
    if (meta_export_ != &entry) { // contexts of another export mean nothing here
        meta_allocation_ = meta_dirty_ = meta_changed_ = false;
    }
}

export_facts negotiation::facts() const {
    return {.size = chosen_->device->size(),
            .read_only = chosen_->device->read_only(),
            .structured = structured_,
            .meta_allocation = meta_allocation_,
            .meta_dirty = meta_dirty_,
            .meta_changed = meta_changed_};
}

} // namespace farshore::nbd
