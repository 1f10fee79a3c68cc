#include "replicator/demo/nbd.hpp"
#include "replicator/demo/store.hpp"

namespace farshore::demo {
namespace {

class nbd_store final : public store {
  public:
    explicit nbd_store(std::array<nbd_volume, 2> volumes) : volumes_(std::move(volumes)) {}

    result<> put_record(std::size_t volume, std::uint64_t number, bytes_view record) override {
        return volumes_[volume].write(number % record_slots * record_bytes, record);
    }
    result<> put_ballast(std::size_t volume, std::uint64_t offset, bytes_view data) override {
        return volumes_[volume].write(record_area_bytes + offset, data);
    }

  private:
    std::array<nbd_volume, 2> volumes_;
};

class raw_storage final : public storage {
  public:
    explicit raw_storage(std::array<std::string, 2> uris) : uris_(std::move(uris)) {}

    std::string description() const override { return "dependent writes through NBD"; }
    result<std::unique_ptr<store>> connect() override {
        FS_TRY(a, nbd_volume::connect(uris_[0]));
        FS_TRY(b, nbd_volume::connect(uris_[1]));
        return std::make_unique<nbd_store>(std::array{std::move(a), std::move(b)});
    }
    bool survives_sender() const override { return true; }
    result<ring_content> read_records(std::size_t volume, const std::string &uri,
                                      const std::string &) override {
        FS_TRY(v, nbd_volume::connect(uri));
        buffer area(record_area_bytes);
        FS_CHECK(v.read(0, area.span()));
        return read_ring(volume_letters[volume], area.view());
    }
    result<> release() override {
        for (const std::string &uri : uris_) {
            FS_TRY(v, nbd_volume::connect(uri));
            FS_CHECK(v.flush());
        }
        return {};
    }

  private:
    std::array<std::string, 2> uris_;
};

} // namespace

std::unique_ptr<storage> nbd_storage(std::array<std::string, 2> uris) {
    return std::make_unique<raw_storage>(std::move(uris));
}

} // namespace farshore::demo
