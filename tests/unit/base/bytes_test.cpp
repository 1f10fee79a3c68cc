#include "replicator/base/bytes.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <malloc.h>

using namespace farshore;

TEST_SUITE("base") {
    TEST_CASE("buffer: from a page on it is page-aligned, below it takes no page") {
        for (const std::size_t size : {4096, 4097, 1 << 20}) {
            const buffer b(size);
            CHECK(b.size() == size);
            CHECK(reinterpret_cast<std::uintptr_t>(b.data()) % 4096 == 0);
        }
        for (const std::size_t size : {1, 20, 1000}) {
            CHECK(malloc_usable_size(buffer(size).data()) < 4096);
        }
        CHECK(buffer(0).empty());
        CHECK(buffer(0).data() != nullptr);
    }
    TEST_CASE("buffer: a copy has the bytes, whatever its size") {
        for (const std::size_t size : {0, 1, 4095, 4096, 4097}) {
            const byte_vector bytes(size, std::byte{7});
            const buffer b = buffer::copy_of(bytes);
            REQUIRE(b.size() == size);
            CHECK((size == 0 || std::memcmp(b.data(), bytes.data(), size) == 0));
        }
    }
}
