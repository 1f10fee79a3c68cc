#include "replicator/session/io_gate.hpp"

#include <cerrno>
#include <utility>

namespace farshore {
namespace {

class gated_device final : public block_device {
  public:
    gated_device(std::shared_ptr<block_device> behind, std::shared_ptr<io_gate> gate)
        : behind_(std::move(behind)), gate_(std::move(gate)) {}

    std::uint64_t size() const override { return behind_->size(); }
    bool read_only() const override { return behind_->read_only(); }
    bool has_dirty_context() const override { return behind_->has_dirty_context(); }
    std::string changed_since() const override { return behind_->changed_since(); }
    bool enter() override { return gate_->enter(); }
    void leave() override { gate_->leave(); }
    bool held() const override { return gate_->now() == io_gate::state::held; }

    result<> read(std::uint64_t offset, bytes_span out) override {
        return passes() ? behind_->read(offset, out) : shut<void>();
    }
    result<bool> try_read(std::uint64_t offset, bytes_span out) override {
        return passes() ? behind_->try_read(offset, out) : shut<bool>();
    }
    result<> write(std::uint64_t offset, bytes_view data, bool fua) override {
        return passes() ? behind_->write(offset, data, fua) : shut<void>();
    }
    result<bool> try_write(std::uint64_t offset, bytes_view data) override {
        return passes() ? behind_->try_write(offset, data) : shut<bool>();
    }
    result<> flush() override { return passes() ? behind_->flush() : shut<void>(); }
    result<> trim(byte_range range, bool fua) override {
        return passes() ? behind_->trim(range, fua) : shut<void>();
    }
    result<> write_zeroes(byte_range range, zero_options options) override {
        return passes() ? behind_->write_zeroes(range, options) : shut<void>();
    }
    result<bool> try_zero(byte_range range, zero_options options) override {
        return passes() ? behind_->try_zero(range, options) : shut<bool>();
    }
    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override {
        return passes() ? behind_->status(range, context, max) : shut<std::vector<status_extent>>();
    }

  private:
    bool passes() const { return gate_->now() != io_gate::state::shut; }
    template <class T>
    static result<T> shut() {
        return fail_errno(ESHUTDOWN, "the group is not served at this site now");
    }

    std::shared_ptr<block_device> behind_;
    std::shared_ptr<io_gate> gate_;
};

} // namespace

std::shared_ptr<block_device> make_gated_device(std::shared_ptr<block_device> behind,
                                                std::shared_ptr<io_gate> gate) {
    return std::make_shared<gated_device>(std::move(behind), std::move(gate));
}

} // namespace farshore
