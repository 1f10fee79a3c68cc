// Points that are open through a simulated life, read-only and writable: whatever happens to the
// receiver, an opening whose open returned is there until it is closed, and shows its point with
// what was flushed to it. A quarter of the seeds has them, with dice of their own.

#include "replicator/base/geometry.hpp"
#include "tests/sim/two_sites.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace farshore::sim {
namespace {

constexpr std::size_t openings_at_a_time = 3;
constexpr duration served_within = std::chrono::minutes(2);

} // namespace

std::uint64_t two_sites::roll_openings(std::uint64_t n) { return opening_dice_() % n; }

void two_sites::opening_step() {
    if (options_.seed % 4 != 3 || roll_openings(2) == 0) {
        return;
    }
    check_openings(false);
    switch (roll_openings(6)) {
    case 0:
    case 1:
        open_something();
        break;
    case 2:
        close_something();
        break;
    default:
        write_to_something();
        break;
    }
}

void two_sites::open_something() {
    if (openings_.size() >= openings_at_a_time) {
        return;
    }
    const std::size_t number = roll_openings(groups_.size());
    open_request wanted;
    wanted.point = "latest";
    wanted.writable = roll_openings(4) != 0;
    wanted.space_bytes = (1 + roll_openings(400)) * block_bytes;
    const auto opened = await(receiver_->open(groups_[number].name, wanted), command_patience);
    if (!opened) {
        say("open: " + opened.error().text());
        return;
    }
    say(fmt::format("opened {} (point {}){}", opened->id, opened->point,
                    wanted.writable ? ", writable" : ""));
    modelled_opening one{opened->id, wanted.writable, {}};
    one.recorded = !opened->error;
    for (byte_vector &image : read_opening(one)) {
        one.volumes.emplace_back(std::move(image));
    }
    openings_.push_back(std::move(one));
}

void two_sites::close_something() {
    if (openings_.empty()) {
        return;
    }
    const auto at =
        openings_.begin() + static_cast<std::ptrdiff_t>(roll_openings(openings_.size()));
    const std::string id = at->id;
    const bool may_be_gone = at->may_be_gone;
    openings_.erase(at);
    const auto closed = await(receiver_->close(id), command_patience);
    say("close " + id + (closed ? "" : ": " + closed.error().text()));
    if (!closed && is(closed.error(), errc::not_found) && !site_.stopped() && !may_be_gone) {
        throw broken_promise{"opening " + id + " was not there any more to be closed"};
    }
}

void two_sites::write_to_something() {
    for (modelled_opening &one : openings_) {
        const auto devices = receiver_access::opened_devices(*receiver_, one.id);
        if (!one.writable || devices.empty()) {
            continue;
        }
        for (std::uint64_t i = 1 + roll_openings(6); i > 0; --i) {
            const std::size_t v = roll_openings(devices.size());
            write_to(*devices[v], one.volumes[v]);
        }
        bool flushed = roll_openings(2) == 0;
        for (std::size_t v = 0; flushed && v < devices.size(); ++v) {
            if (devices[v]->flush()) {
                one.volumes[v].settle();
            }
        }
    }
}

void two_sites::write_to(block_device &device, test::sector_model &model) {
    const std::uint64_t sectors = ceil_div(model.size(), test::sector_bytes);
    const std::uint64_t offset = roll_openings(sectors) * test::sector_bytes;
    const std::uint64_t length =
        std::min(model.size() - offset, (1 + roll_openings(24)) * test::sector_bytes);
    byte_vector data(length);
    const bool zero = roll_openings(5) == 0;
    if (!zero) {
        std::ranges::generate(data, [&] { return static_cast<std::byte>(opening_dice_()); });
    }
    const bool fua = roll_openings(6) == 0;
    const auto done = zero ? device.write_zeroes({offset, length}, {.fua = fua})
                           : device.write(offset, data, fua);
    done ? model.write(offset, data) : model.write_failed(offset, data);
    if (done && fua) {
        model.settle(); // it is a flush of all
    }
}

std::vector<byte_vector> two_sites::read_opening(const modelled_opening &one) {
    std::vector<byte_vector> images;
    for (const auto &device : receiver_access::opened_devices(*receiver_, one.id)) {
        byte_vector image(device->size());
        if (const auto read = device->read(0, image); !read) {
            // Its images can't be trusted until the group is opened again: no wrong byte.
            const bool lost = is(read.error(), errc::dead) &&
                              read.error().context.find("since a sync failed") != std::string::npos;
            if (site_.stopped() || lost) {
                return {};
            }
            throw broken_promise{"opening " + one.id + " can't be read: " + read.error().text()};
        }
        images.push_back(std::move(image));
    }
    return images;
}

bool two_sites::opening_is_well(const modelled_opening &one) {
    const auto all = receiver_->opened();
    const auto at = std::ranges::find(all, one.id, &opened_point::id);
    return at != all.end() && at->served && !at->error;
}

/// `must`: everything is well, so each is served within a time, and outlives the receiver.
void two_sites::check_openings(bool must) {
    for (modelled_opening &one : openings_) {
        if (must &&
            test::run_until(io_, clock_, [&] { return opening_is_well(one); }, served_within)) {
            one.recorded = true;
            one.may_be_gone = false;
        }
        const auto images = read_opening(one);
        if (images.empty()) {
            if (must && !one.may_be_gone) {
                throw broken_promise{"opening " + one.id + " is not served again"};
            }
            continue;
        }
        if (must && !one.recorded) {
            throw broken_promise{"opening " + one.id + " would not outlive the receiver"};
        }
        for (std::size_t v = 0; v < images.size(); ++v) {
            if (const auto at = one.volumes[v].wrong(images[v])) {
                throw broken_promise{
                    fmt::format("opening {}: {} shows at byte {} what was neither flushed nor "
                                "written since",
                                one.id, volume_names[v], *at)};
            }
            if (one.restarted) {
                one.volumes[v].adopt(images[v]);
            }
        }
        one.restarted = false;
    }
}

void two_sites::openings_restarted() {
    for (modelled_opening &one : openings_) {
        one.restarted = true;
        one.may_be_gone = one.may_be_gone || !one.recorded;
    }
}

} // namespace farshore::sim
