// The paths that a configuration file names, with their places. Only for a file that
// config_file.hpp took.

#include "replicator/config/config_probe.hpp"
#include "replicator/config/config_reader.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

class collector {
  public:
    void add(const toml::table &table, const char *key, named_kind kind, std::string name,
             std::string owner) {
        const toml::node *node = table.get(key);
        const auto text = node == nullptr ? std::nullopt : node->value<std::string>();
        if (!text || text->empty()) {
            return;
        }
        std::string path = *text;
        if (kind == named_kind::socket) {
            if (!path.starts_with("unix:")) {
                return;
            }
            path = path.substr(5);
        }
        const auto begin = node->source().begin;
        paths_.push_back({kind, std::move(path), std::move(name), std::move(owner),
                          std::max<std::size_t>(1, begin.line),
                          std::max<std::size_t>(1, begin.column)});
    }
    std::vector<named_path> take() { return std::move(paths_); }

  private:
    std::vector<named_path> paths_;
};

void add_volumes(collector &all, const toml::table &group, const std::string &name) {
    const toml::array *volumes = group["volume"].as_array();
    for (std::size_t i = 0; volumes != nullptr && i < volumes->size(); ++i) {
        const toml::table *v = volumes->get_as<toml::table>(i);
        if (v == nullptr) {
            continue;
        }
        const std::string volume = (*v)["name"].value_or<std::string>("");
        const std::string owner = fmt::format("group {}, volume {}", name, volume);
        all.add(*v, "path", named_kind::volume, volume, owner);
        all.add(*v, "nbd", named_kind::socket, "nbd", owner);
    }
}

void add_targets(collector &all, const toml::table &group, const std::string &name) {
    all.add(group, "replica", named_kind::image_directory, "replica", "group " + name);
    const toml::table *targets = group["target"].as_table();
    if (targets == nullptr) {
        return;
    }
    for (const auto &[key, value] : *targets) {
        const std::string volume(key.str());
        all.add(*targets, volume.c_str(), named_kind::image, volume,
                fmt::format("group {}, volume {}", name, volume));
    }
}

} // namespace

std::vector<named_path> named_paths_of(std::string_view text) {
    const toml::parse_result parsed = toml::parse(text);
    if (!parsed) {
        return {};
    }
    const toml::table &document = parsed.table();
    collector all;
    for (const char *role : {"sender", "receiver"}) {
        if (const toml::table *daemon = document[role].as_table()) {
            all.add(*daemon, "state", named_kind::state_directory, "state", "the daemon");
            all.add(*daemon, "control", named_kind::control_socket, "control", "the daemon");
        }
    }
    if (const toml::table *tls = document["tls"].as_table()) {
        for (const char *key : {"ca", "cert", "key", "crl"}) {
            all.add(*tls, key, named_kind::readable_file, key, "[tls]");
        }
    }
    const toml::array *groups = document["group"].as_array();
    for (std::size_t i = 0; groups != nullptr && i < groups->size(); ++i) {
        if (const toml::table *group = groups->get_as<toml::table>(i)) {
            const std::string name = (*group)["name"].value_or<std::string>("");
            add_volumes(all, *group, name);
            add_targets(all, *group, name);
        }
    }
    return all.take();
}

} // namespace farshore
