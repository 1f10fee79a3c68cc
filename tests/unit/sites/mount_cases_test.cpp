#include "replicator/receiver/mount_cases.hpp"

#include <doctest/doctest.h>

using namespace farshore;

TEST_SUITE("sites") {
    TEST_CASE("mount: a read-only mount replays no journal and bears its original's identity") {
        CHECK(mount_options("ext4", false).front() == "ro,nosuid,nodev,noload");
        CHECK(mount_options("ext3", false).front() == "ro,nosuid,nodev,noload");
        CHECK(mount_options("ext2", false).front() == "ro,nosuid,nodev");
        CHECK(mount_options("xfs", false).front() == "ro,nosuid,nodev,norecovery,nouuid");
        CHECK(mount_options("xfs", true).front() == "rw,nosuid,nodev,nouuid");
        CHECK(mount_options("btrfs", false).size() == 2);
        CHECK(mount_options("btrfs", false).front() == "ro,nosuid,nodev,rescue=nologreplay");
        CHECK(mount_options("vfat", false).front() == "ro,nosuid,nodev");
        CHECK(mount_options("ext4", true).front() == "rw,nosuid,nodev");
    }
    TEST_CASE("mount: what blkid says") {
        const auto ext4 =
            parse_blkid("DEVNAME=/dev/loop0\nUUID=x=y\nTYPE=ext4\nUSAGE=filesystem\n");
        CHECK(ext4.file_system());
        CHECK(ext4.type == "ext4");
        const auto lvm = parse_blkid("DEVNAME=/dev/loop0\nTYPE=LVM2_member\nUSAGE=raid\n");
        CHECK_FALSE(lvm.file_system());
        CHECK(lvm.what() == "it holds LVM2_member, which is no file system");
        const auto table = parse_blkid("DEVNAME=/dev/loop0\nPTUUID=1\nPTTYPE=gpt");
        CHECK_FALSE(table.file_system());
        CHECK(table.what() == "a partition table (gpt) is on it, no file system");
        CHECK(parse_blkid("").what() == "no known file system is on it");
        CHECK_FALSE(parse_blkid("garbage\n=\nTYPE=\n").file_system());
    }
    TEST_CASE("mount: the kernel's table, with blanks in names and lines that are none") {
        const auto all = parse_mountinfo(
            "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/loop7 rw,errors=continue\n"
            "37 35 0:50 / /srv/o/shop-1/data.fuse rw - fuse.nbdfuse nbdfuse rw\n"
            "broken line\n"
            "38 35 0:51 / /x rw -\n");
        REQUIRE(all.size() == 2);
        CHECK(all[0].source == "/dev/loop7");
        CHECK(all[0].target == "/mnt 2");
        CHECK(all[0].type == "ext3");
        CHECK(all[1].target == "/srv/o/shop-1/data.fuse");
    }
    TEST_CASE("mount: leftovers are those of this opening, top first") {
        const std::vector<mounted> mounts{{"/dev/loop1", "/mnt/a", "ext4"},
                                          {"nbdfuse", "/s/shop-1/data.fuse", "fuse.nbdfuse"},
                                          {"nbdfuse", "/s/shop-11/data.fuse", "fuse.nbdfuse"},
                                          {"/dev/loop2", "/mnt/b", "ext4"},
                                          {"/dev/loop1", "/mnt/c", "ext4"},
                                          {"/dev/sda1", "/", "ext4"}};
        const std::vector<loop_device> loops{{"/dev/loop1", "/s/shop-1/data.fuse/nbd"},
                                             {"/dev/loop2", "/s/shop-11/data.fuse/nbd"},
                                             {"/dev/loop3", "/s/shop-1"}};
        const leftovers left = leftovers_of("/s/shop-1", mounts, loops);
        CHECK(left.file_systems == std::vector<std::string>{"/mnt/c", "/mnt/a"});
        CHECK(left.loops == std::vector<std::string>{"/dev/loop1"});
        CHECK(left.fuses == std::vector<std::string>{"/s/shop-1/data.fuse"});
        CHECK(leftovers_of("/s/shop-2", mounts, loops).empty());
    }
}
