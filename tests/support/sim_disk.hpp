#pragma once
// Files and names of a simulated disk, each as programs see them (cached, live) and as a power cut
// would leave them (synced, durable). A value: a copy is a snapshot. Part of sim_file_system.hpp.
//
// Threads: none; sim_file_system.hpp locks.

#include "replicator/storage/file_system.hpp"
#include "tests/support/sim_content.hpp"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace farshore::sim {

/// When a file was changed, in ns.
struct stamps {
    std::int64_t modified = 0;
    std::int64_t changed = 0;
};

struct node {
    stamps cached_stamps;
    stamps synced_stamps; ///< of the last sync_all
    content cached;
    content synced;
    page_set dirty; ///< pages in which the two may differ
    std::vector<change> changes;
    bool block_special = false;
    std::uint64_t opens = 0;

    void make(change one) {
        const std::uint64_t before = cached.size;
        perform(cached, one);
        switch (one.what) {
        case change::kind::write:
        case change::kind::mapped_page:
            touch(one.offset, one.offset + one.data->size());
            break;
        case change::kind::zero:
            touch(one.offset, one.offset + one.length);
            break;
        case change::kind::truncate:
            dirty.add(std::min(before, one.offset) / page_bytes, no_page);
            break;
        case change::kind::allocate:
            touch(0, one.offset);
            break;
        }
        changes.push_back(std::move(one));
    }
    void sync() {
        dirty.each_run(0, no_page, [&](std::uint64_t first, std::uint64_t last) {
            synced.adopt(cached, first, last);
        });
        synced.size = cached.size;
        forget_changes();
    }
    /// The disk keeps what `c` leaves of the changes; the page cache stays as it is.
    void settle(cut &c) {
        for (const change &one : changes) {
            c.settle(synced, one);
        }
        forget_changes();
    }
    /// The page cache is read again from the disk.
    void evict() { cached = synced; }

  private:
    void touch(std::uint64_t from, std::uint64_t to) {
        dirty.add(from / page_bytes, content::pages_of(to));
    }
    void forget_changes() {
        changes.clear();
        dirty.clear();
    }
};

/// What a name stands for; number 0 is a directory.
struct entry {
    std::uint64_t number = 0;
    bool directory() const { return number == 0; }
};

using name_tree = std::map<std::string, entry>;

struct name_change {
    enum class kind : std::uint8_t { link, unlink, rename };
    kind what = kind::link;
    std::string path = {}; ///< the new name, of a rename
    std::string from = {}; ///< the old one
    entry target = {};
};

/// "a//b/./c/" -> "a/b/c". Absolute and relative paths are different files.
inline std::string normal_path(const std::string &path) {
    std::string out = path.starts_with('/') ? "/" : "";
    std::size_t at = 0;
    while (at < path.size()) {
        const std::size_t slash = std::min(path.find('/', at), path.size());
        const std::string part = path.substr(at, slash - at);
        if (!part.empty() && part != ".") {
            out += (out.empty() || out.ends_with('/') ? "" : "/") + part;
        }
        at = slash + 1;
    }
    return out.empty() ? "." : out;
}

inline bool is_root(const std::string &path) { return path == "." || path == "/"; }

/// Names under the directory, its own excluded: prefix of their paths.
inline std::string prefix_of(const std::string &directory) {
    return directory == "." ? "" : directory == "/" ? "/" : directory + "/";
}

inline void perform(name_tree &tree, const name_change &one) {
    switch (one.what) {
    case name_change::kind::link:
        tree[one.path] = one.target;
        return;
    case name_change::kind::unlink:
        tree.erase(one.path);
        return;
    case name_change::kind::rename:
        break;
    }
    tree.erase(one.from);
    tree[one.path] = one.target;
    if (one.target.directory()) {
        const std::string old_prefix = prefix_of(one.from);
        name_tree moved;
        for (auto at = tree.lower_bound(old_prefix);
             at != tree.end() && at->first.starts_with(old_prefix);) {
            moved[prefix_of(one.path) + at->first.substr(old_prefix.size())] = at->second;
            at = tree.erase(at);
        }
        tree.merge(moved);
    }
}

class disk {
  public:
    name_tree live;
    std::map<std::uint64_t, node> nodes;
    std::uint64_t capacity = 1ULL << 60;

    bool is_directory(const std::string &path) const {
        const auto at = live.find(path);
        return is_root(path) || (at != live.end() && at->second.directory());
    }
    bool has_children(const std::string &directory) const {
        const auto at = live.lower_bound(prefix_of(directory));
        return at != live.end() && at->first.starts_with(prefix_of(directory));
    }
    void change_name(name_change one) {
        perform(live, one);
        pending_.push_back(std::move(one));
    }
    std::uint64_t make_node() {
        nodes[++last_number_];
        return last_number_;
    }

    /// Names below the prefix and their files are again as they were in `then`, times included,
    /// durably: as when a snapshot of the storage below is put back.
    void put_back(const disk &then, const std::string &prefix) {
        const auto below = [&](const std::string &path) { return path.starts_with(prefix); };
        std::erase_if(pending_,
                      [&](const name_change &one) { return below(one.path) || below(one.from); });
        for (name_tree *tree : {&live, &durable_}) {
            std::erase_if(*tree, [&](const auto &one) { return below(one.first); });
            for (const auto &[path, what] : then.live) {
                if (below(path)) {
                    (*tree)[path] = what;
                }
            }
        }
        for (const auto &[path, what] : then.live) {
            if (below(path) && !what.directory()) {
                node put = then.nodes.at(what.number);
                put.opens = 0;
                put.sync();
                put.synced_stamps = put.cached_stamps;
                nodes[what.number] = std::move(put);
            }
        }
        last_number_ = std::max(last_number_, then.last_number_);
        collect();
    }

    /// Makes durable what happened in the directory, and what that builds on: a rename between two
    /// directories takes the earlier changes in the other one with it, as in one journal.
    void sync_directory(const std::string &directory) {
        std::set<std::string> directories{directory};
        std::vector<bool> settled(pending_.size());
        for (std::size_t i = pending_.size(); i-- > 0;) {
            const name_change &one = pending_[i];
            const bool renames = one.what == name_change::kind::rename;
            settled[i] = directories.contains(parent_path(one.path)) ||
                         (renames && directories.contains(parent_path(one.from)));
            if (settled[i] && renames) {
                directories.insert(parent_path(one.path));
                directories.insert(parent_path(one.from));
            }
        }
        std::vector<name_change> rest;
        for (std::size_t i = 0; i < pending_.size(); ++i) {
            if (settled[i]) {
                perform(durable_, pending_[i]);
            } else {
                rest.push_back(std::move(pending_[i]));
            }
        }
        pending_ = std::move(rest);
        collect();
    }

    void power_cut(std::uint64_t seed) {
        cut c(seed);
        cut_names(c);
        for (auto &[number, one] : nodes) {
            one.settle(c);
            one.evict();
            const bool stamps_kept = seed == 1 || (seed != 0 && (seed / 2 + number) % 2 == 0);
            (stamps_kept ? one.synced_stamps : one.cached_stamps) =
                stamps_kept ? one.cached_stamps : one.synced_stamps;
        }
        collect();
    }

    /// Forgets files without a name, live or durable, that nobody has open.
    void collect() {
        std::set<std::uint64_t> named;
        for (const name_tree *tree : {&live, &durable_}) {
            for (const auto &[path, what] : *tree) {
                named.insert(what.number);
            }
        }
        for (const name_change &one : pending_) {
            named.insert(one.target.number);
        }
        std::erase_if(nodes, [&](const auto &one) {
            return one.second.opens == 0 && !named.contains(one.first);
        });
    }

    /// The same for one file.
    void collect(std::uint64_t number) {
        const auto at = nodes.find(number);
        if (at != nodes.end() && at->second.opens == 0 && !named(number)) {
            nodes.erase(at);
        }
    }

    /// Pages of files that programs can reach.
    std::uint64_t used_pages() const {
        std::set<std::uint64_t> reachable;
        for (const auto &[path, what] : live) {
            reachable.insert(what.number);
        }
        std::uint64_t pages = 0;
        for (const auto &[number, one] : nodes) {
            if ((one.opens > 0 || reachable.contains(number)) && !one.block_special) {
                pages += one.cached.allocated.count();
            }
        }
        return pages;
    }

  private:
    bool named(std::uint64_t number) const {
        const auto in = [&](const name_tree &tree) {
            return std::ranges::any_of(
                tree, [&](const auto &one) { return one.second.number == number; });
        };
        return in(live) || in(durable_) ||
               std::ranges::any_of(
                   pending_, [&](const name_change &one) { return one.target.number == number; });
    }
    void cut_names(cut &c) {
        const bool in_order = c.names_in_order();
        const std::size_t prefix = c.prefix_of(pending_.size());
        for (std::size_t i = 0; i < pending_.size(); ++i) {
            if (in_order ? i < prefix : c.keeps()) {
                perform(durable_, pending_[i]);
            }
        }
        pending_.clear();
        // Files in a directory that was lost are lost with it. Parents sort before their children.
        for (auto at = durable_.begin(); at != durable_.end();) {
            const std::string parent = parent_path(at->first);
            const auto above = durable_.find(parent);
            const bool reachable =
                is_root(parent) || (above != durable_.end() && above->second.directory());
            at = reachable ? std::next(at) : durable_.erase(at);
        }
        live = durable_;
    }

    name_tree durable_;
    std::vector<name_change> pending_;
    std::uint64_t last_number_ = 0;
};

} // namespace farshore::sim
