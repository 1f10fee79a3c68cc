#include "replicator/history/packed_store.hpp"

#include "replicator/base/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore {
namespace {

constexpr std::string_view suffix = ".pack";
constexpr const char *draft_name = "draft";

std::string name_of(const packed_foot &foot) {
    return fmt::format("{:010}-{:010}-{:06}{}", foot.first_segment, foot.last_segment, foot.merges,
                       suffix);
}

/// Whether `a` stands for all that `b` does.
bool covers(const packed_foot &a, const packed_foot &b) {
    return a.first_segment <= b.first_segment && a.last_segment >= b.last_segment &&
           (a.merges > b.merges || a.first_segment != b.first_segment ||
            a.last_segment != b.last_segment);
}

bool older(const std::shared_ptr<const stretch> &a, const std::shared_ptr<const stretch> &b) {
    return a->foot().first_segment < b->foot().first_segment;
}

} // namespace

result<std::unique_ptr<packed_store>>
packed_store::open(file_system &files, std::string directory,
                   const std::array<std::byte, 16> &identity) {
    std::unique_ptr<packed_store> store(new packed_store(files, std::move(directory), identity));
    FS_CHECK(store->load());
    return store;
}

result<> packed_store::load() {
    FS_CHECK(files_.make_directories(directory_));
    FS_TRY(names, files_.list(directory_));
    stretch_list all;
    for (const std::string &name : names) {
        const std::string path = join_path(directory_, name);
        if (!name.ends_with(suffix)) {
            FS_CHECK(remove_file(path));
            continue;
        }
        auto opened = stretch::open(files_, path, identity_);
        if (!opened && !is(opened.error(), errc::corrupt)) {
            return std::unexpected(opened.error());
        }
        if (!opened) {
            log::error("{}; what it held is lost, and what is older", opened.error().text());
            FS_CHECK(remove_file(path));
            continue;
        }
        all.push_back(std::move(*opened));
    }
    stretch_list kept;
    for (const auto &s : all) {
        const bool covered = std::ranges::any_of(
            all, [&](const auto &o) { return o != s && covers(o->foot(), s->foot()); });
        if (covered) {
            FS_CHECK(remove_file(s->path()));
        } else {
            kept.push_back(s);
        }
    }
    std::ranges::sort(kept, older);
    // What is whole goes back to the first gap.
    std::size_t first = kept.size();
    while (first > 0 && (first == kept.size() || kept[first - 1]->foot().last_segment + 1 ==
                                                     kept[first]->foot().first_segment)) {
        --first;
    }
    for (std::size_t i = 0; i < first; ++i) {
        log::warning("{}: older than a gap: it is removed", kept[i]->path());
        FS_CHECK(remove_file(kept[i]->path()));
    }
    kept.erase(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(first));
    set_list(std::move(kept));
    return {};
}

result<> packed_store::remove_file(const std::string &path) { return files_.remove(path); }

void packed_store::set_list(stretch_list list) {
    std::uint64_t bytes = 0;
    for (const auto &s : list) {
        bytes += s->file_bytes();
    }
    const std::scoped_lock lock(mutex_);
    list_ = std::make_shared<const stretch_list>(std::move(list));
    used_bytes_ = bytes;
}

std::shared_ptr<const stretch_list> packed_store::list() const {
    const std::scoped_lock lock(mutex_);
    return list_;
}

std::uint64_t packed_store::used_bytes() const {
    const std::scoped_lock lock(mutex_);
    return used_bytes_;
}

std::string packed_store::draft_path() const { return join_path(directory_, draft_name); }

result<std::shared_ptr<const stretch>> packed_store::adopt_draft() {
    const std::string draft = draft_path();
    FS_TRY(found, stretch::open(files_, draft, identity_));
    const packed_foot &foot = found->foot();
    stretch_list next;
    std::vector<std::string> replaced;
    for (const auto &s : *list()) {
        if (covers(foot, s->foot())) {
            replaced.push_back(s->path());
        } else {
            next.push_back(s);
        }
    }
    const std::string path = join_path(directory_, name_of(foot));
    next.push_back(found);
    std::ranges::sort(next, older);
    for (std::size_t i = 1; i < next.size(); ++i) {
        if (next[i - 1]->foot().last_segment + 1 != next[i]->foot().first_segment) {
            FS_CHECK(remove_file(draft));
            return fail(errc::invalid, path + ": packed history that does not join the rest");
        }
    }
    FS_CHECK(files_.rename(draft, path));
    FS_CHECK(files_.sync_directory(directory_));
    FS_TRY(named, stretch::open(files_, path, identity_));
    *std::ranges::find(next, found) = named;
    covered_.insert(covered_.end(), replaced.begin(), replaced.end());
    set_list(std::move(next));
    return named;
}

result<> packed_store::remove_covered() {
    while (!covered_.empty()) {
        FS_CHECK(remove_file(covered_.back()));
        covered_.pop_back();
    }
    return {};
}

result<> packed_store::drop_before(interval_id needed) {
    stretch_list rest = *list();
    std::vector<std::string> gone;
    while (!rest.empty() && rest.front()->foot().last_interval <= needed) {
        gone.push_back(rest.front()->path());
        rest.erase(rest.begin());
    }
    if (gone.empty()) {
        return {};
    }
    set_list(std::move(rest));
    for (const std::string &path : gone) {
        FS_CHECK(remove_file(path));
    }
    return {};
}

result<> packed_store::clear() {
    set_list({});
    covered_.clear();
    FS_TRY(names, files_.list(directory_));
    for (const std::string &name : names) {
        FS_CHECK(remove_file(join_path(directory_, name)));
    }
    return files_.sync_directory(directory_);
}

} // namespace farshore
