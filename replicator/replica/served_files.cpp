#include "replicator/replica/served_files.hpp"

#include <utility>

namespace farshore {
namespace {

class served_image final : public file {
  public:
    served_image(std::unique_ptr<file> below, std::shared_ptr<replica_group> copy, volume_index v)
        : below_(std::move(below)), copy_(std::move(copy)), volume_(v) {}

    const std::string &path() const override { return below_->path(); }
    // Of a block device that is larger than the volume only that much is the volume's.
    result<std::uint64_t> size() override { return copy_->volumes()[volume_.value].size; }
    bool block_special() const override { return below_->block_special(); }
    result<file_identity> identity() override { return below_->identity(); }
    result<bool> named() override { return below_->named(); }
    result<> read_at(std::uint64_t offset, bytes_span out) override {
        return below_->read_at(offset, out);
    }
    result<bool> read_at_cached(std::uint64_t offset, bytes_span out) override {
        return below_->read_at_cached(offset, out);
    }
    result<> write_at(std::uint64_t offset, bytes_view data) override {
        FS_CHECK(copy_->keep_before(volume_, {offset, data.size()}));
        return below_->write_at(offset, data);
    }
    bool writes_at_once(byte_range range) override { return copy_->kept_before(volume_, range); }
    result<> sync_data() override { return below_->sync_data(); }
    result<> sync_all() override { return below_->sync_all(); }
    result<> renew_times() override { return below_->renew_times(); }
    result<> truncate(std::uint64_t) override { return refused(); }
    result<> allocate(std::uint64_t) override { return refused(); }
    result<> zero(byte_range range, bool keep_allocated, bool only_if_fast) override {
        FS_CHECK(copy_->keep_before(volume_, range));
        return below_->zero(range, keep_allocated, only_if_fast);
    }
    result<byte_range> next_data(std::uint64_t offset) override {
        return below_->next_data(offset);
    }
    result<bool> is_hole(byte_range range) override { return below_->is_hole(range); }
    result<> lock() override { return {}; }
    std::string intruder() override { return below_->intruder(); }
    void expect_scattered_use() override { below_->expect_scattered_use(); }
    result<> drop_cached() override { return below_->drop_cached(); }
    result<std::unique_ptr<shared_map>> map(std::uint64_t) override { return refused(); }

  private:
    std::unexpected<error> refused() const {
        return fail(errc::refused, path() + " is the image of a copy: its size is the volume's");
    }

    std::unique_ptr<file> below_;
    std::shared_ptr<replica_group> copy_;
    volume_index volume_;
};

class served_files final : public file_system {
  public:
    served_files(file_system &below, std::shared_ptr<replica_group> copy)
        : below_(below), copy_(std::move(copy)) {}

    result<std::unique_ptr<file>> open(const std::string &path, open_mode mode) override {
        FS_TRY(opened, below_.open(path, mode));
        for (std::uint16_t v = 0; v < copy_->volumes().size(); ++v) {
            if (copy_->volumes()[v].path == path) {
                return std::make_unique<served_image>(std::move(opened), copy_, volume_index{v});
            }
        }
        return opened;
    }
    result<bool> exists(const std::string &path) override { return below_.exists(path); }
    result<> make_directories(const std::string &path) override {
        return below_.make_directories(path);
    }
    result<std::vector<std::string>> list(const std::string &directory) override {
        return below_.list(directory);
    }
    result<> rename(const std::string &from, const std::string &to) override {
        return below_.rename(from, to);
    }
    result<> remove(const std::string &path) override { return below_.remove(path); }
    result<> sync_directory(const std::string &directory) override {
        return below_.sync_directory(directory);
    }
    result<std::uint64_t> free_bytes(const std::string &path) override {
        return below_.free_bytes(path);
    }
    std::int64_t now() override { return below_.now(); }

  private:
    file_system &below_;
    std::shared_ptr<replica_group> copy_;
};

} // namespace

std::unique_ptr<file_system> make_served_files(file_system &below,
                                               std::shared_ptr<replica_group> copy) {
    return std::make_unique<served_files>(below, std::move(copy));
}

} // namespace farshore
