#include "replicator/sender/sender_access.hpp"

#include "replicator/sender/sender_impl.hpp"

#include <cerrno>
#include <utility>

namespace farshore {
namespace {

/// In place of the NBD server: who comes while the group is held gets EAGAIN at once.
class admitted_device final : public block_device {
  public:
    explicit admitted_device(std::shared_ptr<block_device> behind) : behind_(std::move(behind)) {}

    std::uint64_t size() const override { return behind_->size(); }
    bool read_only() const override { return behind_->read_only(); }
    bool has_dirty_context() const override { return behind_->has_dirty_context(); }

    result<> read(std::uint64_t offset, bytes_span out) override {
        return inside([&] { return behind_->read(offset, out); });
    }
    result<bool> try_read(std::uint64_t offset, bytes_span out) override {
        return inside([&] { return behind_->try_read(offset, out); });
    }
    result<> write(std::uint64_t offset, bytes_view data, bool fua) override {
        return inside([&] { return behind_->write(offset, data, fua); });
    }
    result<bool> try_write(std::uint64_t offset, bytes_view data) override {
        return inside([&] { return behind_->try_write(offset, data); });
    }
    result<> flush() override {
        return inside([&] { return behind_->flush(); });
    }
    result<> trim(byte_range range, bool fua) override {
        return inside([&] { return behind_->trim(range, fua); });
    }
    result<> write_zeroes(byte_range range, zero_options options) override {
        return inside([&] { return behind_->write_zeroes(range, options); });
    }
    result<bool> try_zero(byte_range range, zero_options options) override {
        return inside([&] { return behind_->try_zero(range, options); });
    }
    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override {
        return inside([&] { return behind_->status(range, context, max); });
    }

  private:
    template <class F>
    auto inside(F call) -> decltype(call()) {
        if (!behind_->enter()) {
            return fail_errno(EAGAIN, "the group is held for a switchover");
        }
        auto done = call();
        behind_->leave();
        return done;
    }

    std::shared_ptr<block_device> behind_;
};

} // namespace

std::shared_ptr<block_device> sender_access::device(sender &s, const std::string &group,
                                                    volume_index v) {
    return std::make_shared<admitted_device>(s.impl_->find(group).value()->device(v));
}

} // namespace farshore
