#include "replicator/replica/overlay_directory.hpp"

#include "replicator/base/assert.hpp"

namespace farshore {
namespace {

point_overlay::place place_of(const std::string &directory, const std::string &volume,
                              interval_id point) {
    return {join_path(directory, volume + ".data"), join_path(directory, volume + ".map"), point};
}

result<> create_all(file_system &files, const std::string &directory, interval_id point,
                    const std::vector<overlay_volume> &volumes) {
    FS_CHECK(files.make_directories(directory));
    for (const overlay_volume &v : volumes) {
        FS_CHECK(point_overlay::create(files, place_of(directory, v.name, point), v.size));
    }
    return files.sync_directory(directory);
}

} // namespace

result<> create_overlays(file_system &files, const std::string &directory, interval_id point,
                         const std::vector<overlay_volume> &volumes) {
    auto made = create_all(files, directory, point, volumes);
    if (!made) { // what can't be removed either goes at the next start, as nobody's
        static_cast<void>(remove_overlays(files, directory));
    }
    return made;
}

result<std::vector<std::shared_ptr<block_device>>>
open_overlays(file_system &files, const std::string &directory, interval_id point,
              const std::vector<overlay_volume> &volumes,
              const std::vector<std::shared_ptr<block_device>> &below,
              const std::shared_ptr<overlay_space> &space) {
    REPL_ASSERT(volumes.size() == below.size());
    std::vector<std::shared_ptr<block_device>> devices;
    for (std::size_t i = 0; i < volumes.size(); ++i) {
        FS_TRY(device, point_overlay::open(files, place_of(directory, volumes[i].name, point),
                                           below[i], space));
        devices.push_back(std::move(device));
    }
    return devices;
}

result<> remove_overlays(file_system &files, const std::string &directory) {
    FS_TRY(present, files.exists(directory));
    if (!present) {
        return {};
    }
    FS_TRY(names, files.list(directory));
    for (const std::string &name : names) {
        FS_CHECK(files.remove(join_path(directory, name)));
    }
    FS_CHECK(files.remove(directory));
    return files.sync_directory(parent_path(directory));
}

} // namespace farshore
