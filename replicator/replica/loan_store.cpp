#include "replicator/replica/loan_store.hpp"

#include "replicator/base/assert.hpp"
#include "replicator/base/geometry.hpp"
#include "replicator/base/log.hpp"
#include "replicator/format/loan_header.hpp"

#include <algorithm>

namespace farshore {

loan_store::loan_store(std::unique_ptr<file> data, std::uint64_t slots)
    : data_(std::move(data)), slots_(slots) {}

result<std::unique_ptr<loan_store>> loan_store::open(file_system &files, const std::string &path,
                                                     std::uint64_t slots, interval_id released) {
    FS_TRY(data, files.open(path, open_mode::create));
    FS_TRY(bytes, data->size());
    FS_CHECK(files.sync_directory(parent_path(path)));
    std::unique_ptr<loan_store> store(new loan_store(std::move(data), slots));
    if (bytes >= loan_header_bytes) {
        byte_vector head(loan_header_bytes);
        FS_CHECK(store->data_->read_at(0, head));
        const auto header = parse_loan_header(head);
        if (!header && is(header.error(), errc::unsupported)) {
            return fail(header.error().code, path + ": " + header.error().context);
        }
        if (!header) {
            log::warning(
                "{}: {}; intervals that refer to it are found by their digests and sent again",
                path, header.error().text());
        }
        store->newest_ = header ? header->newest : interval_id{};
        store->written_slots_ = (bytes - loan_header_bytes) / block_bytes;
    }
    const std::lock_guard lock(store->mutex_);
    if (store->newest_ > released) {
        store->held_until_ = store->newest_;
    } else {
        FS_CHECK(store->shrink_locked());
    }
    return store;
}

result<> loan_store::shrink_locked() {
    first_ = 0;
    next_ = 0;
    newest_ = {};
    if (written_slots_ > 0) {
        FS_CHECK(data_->truncate(0));
    }
    written_slots_ = 0;
    return {};
}

result<> loan_store::write_locked(std::uint64_t slot, bytes_view blocks) {
    return data_->write_at(loan_header_bytes + slot * block_bytes, blocks);
}

result<std::optional<std::uint64_t>> loan_store::keep(interval_id user, bytes_view blocks) {
    REPL_ASSERT(blocks.size() % block_bytes == 0);
    const std::uint64_t count = blocks.size() / block_bytes;
    std::uint64_t slot = 0;
    {
        const std::lock_guard lock(mutex_);
        const bool in_order = user >= newest_;
        if (held_until_.value != 0 || !in_order || count == 0 || next_ - first_ + count > slots_) {
            return std::nullopt;
        }
        if (user != newest_) {
            FS_CHECK(data_->write_at(0, encode_loan_header({user})));
            newest_ = user;
            batches_.push_back({user, 0});
        }
        slot = next_ % slots_;
        const std::uint64_t straight = std::min(count, slots_ - slot);
        FS_CHECK(write_locked(slot, blocks.first(straight * block_bytes)));
        if (straight < count) {
            FS_CHECK(write_locked(0, blocks.subspan(straight * block_bytes)));
        }
        written_slots_ = std::max(written_slots_, slot + straight);
        next_ += count;
        batches_.back().count += count;
    }
    FS_CHECK(data_->sync_data());
    return slot;
}

result<> loan_store::read(std::uint64_t slot, bytes_span out) {
    REPL_ASSERT(out.size() == block_bytes);
    {
        const std::lock_guard lock(mutex_);
        if (slot >= written_slots_) {
            std::ranges::fill(out, std::byte{0});
            return {};
        }
    }
    return data_->read_at(loan_header_bytes + slot * block_bytes, out);
}

result<> loan_store::release(interval_id through) {
    const std::lock_guard lock(mutex_);
    const bool something = held_until_.value != 0 || !batches_.empty();
    if (held_until_ <= through) {
        held_until_ = {};
    }
    while (!batches_.empty() && batches_.front().user <= through) {
        first_ += batches_.front().count;
        batches_.pop_front();
    }
    const bool idle = held_until_.value == 0 && batches_.empty();
    return something && idle ? shrink_locked() : result<>();
}

bool loan_store::crowded() const {
    const std::lock_guard lock(mutex_);
    return next_ - first_ > slots_ / 2;
}

std::uint64_t loan_store::used_bytes() const {
    const std::lock_guard lock(mutex_);
    return written_slots_ * block_bytes;
}

} // namespace farshore
