#include "replicator/replica/image_cases.hpp"

#include <algorithm>

namespace farshore {

image_case judge_image(const image_evidence &evidence) {
    if (!evidence.has_times) {
        return image_case::not_proved;
    }
    const image_stamp &left = evidence.left;
    const image_stamp &found = evidence.found;
    if (found == left) {
        return image_case::as_left;
    }
    if (found.inode != left.inode || found.size != left.size) {
        return image_case::not_as_left;
    }
    // A clock that went back after the commit gives our writes earlier times than the commit's.
    const auto ours = [&](std::int64_t at, std::int64_t before) {
        return at == before || (evidence.ours.any && at >= std::min(before, evidence.ours.first) &&
                                at <= evidence.ours.last + own_writes_max);
    };
    if (!ours(found.modified, left.modified)) {
        return image_case::not_as_left;
    }
    return ours(found.changed, left.changed) ? image_case::own_writes : image_case::doubtful;
}

bool disturbed(const image_stamp &left, const image_stamp &found) {
    return found.inode != left.inode || found.size != left.size || found.modified != left.modified;
}

std::string_view to_text(image_case c) {
    switch (c) {
    case image_case::as_left:
        return "as it was left";
    case image_case::own_writes:
        return "written by an apply that was cut off";
    case image_case::not_proved:
        return "a block device, of which nothing tells who wrote it";
    case image_case::doubtful:
        return "perhaps not as it was left: its inode was changed (ctime), its content by all "
               "signs was not (mtime)";
    case image_case::not_as_left:
        return "not as it was left: somebody else wrote, replaced or restored it, or the "
               "receiver's state was put back";
    }
    return "";
}

} // namespace farshore
