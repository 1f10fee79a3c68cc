#pragma once
// One volume as of one point, read-only. Threads: any.

#include "replicator/replica/point_view.hpp"

namespace farshore {

class point_device final : public block_device {
  public:
    point_device(std::shared_ptr<replica_core> core, std::shared_ptr<point_view> view,
                 volume_index volume, point_changes changes)
        : core_(std::move(core)), view_(std::move(view)), volume_(volume),
          size_(core_->images().size(volume)), changes_(std::move(changes)) {}

    std::uint64_t size() const override { return size_; }
    bool read_only() const override { return true; }
    bool has_dirty_context() const override { return changes_.blocks != nullptr; }
    std::string changed_since() const override {
        return changes_.blocks ? std::to_string(changes_.since.value) : std::string();
    }
    result<> read(std::uint64_t offset, bytes_span out) override;
    result<bool> try_read(std::uint64_t offset, bytes_span out) override;
    result<> write(std::uint64_t, bytes_view, bool) override { return refuse(); }
    result<bool> try_write(std::uint64_t, bytes_view) override {
        return std::unexpected(refuse().error());
    }
    result<> flush() override { return {}; }
    result<> trim(byte_range, bool) override { return refuse(); }
    result<> write_zeroes(byte_range, zero_options) override { return refuse(); }
    result<std::vector<status_extent>> status(byte_range range, status_context context,
                                              std::size_t max) override;

  private:
    static result<> refuse();
    result<std::vector<status_extent>> extents_at(std::uint64_t offset, std::uint64_t end);

    std::shared_ptr<replica_core> core_;
    std::shared_ptr<point_view> view_;
    volume_index volume_;
    std::uint64_t size_;
    point_changes changes_;
};

} // namespace farshore
