#pragma once
// Zeroed memory of a fixed size whose pages are taken only as they are touched: tables that a busy
// group fills and an idle one never needs.

#include "replicator/base/assert.hpp"

#include <cstddef>
#include <memory>
#include <sys/mman.h>

namespace farshore::dedupe {

template <class Element>
class lazy_memory {
  public:
    explicit lazy_memory(std::size_t count) : memory_(map(count), unmap{count * sizeof(Element)}) {}
    Element *data() const { return memory_.get(); }

  private:
    struct unmap {
        std::size_t bytes;
        void operator()(Element *at) const { ::munmap(at, bytes); }
    };
    static Element *map(std::size_t count) {
        void *memory = ::mmap(nullptr, count * sizeof(Element), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        REPL_ASSERT(memory != MAP_FAILED);
        return static_cast<Element *>(memory);
    }

    std::unique_ptr<Element, unmap> memory_;
};

} // namespace farshore::dedupe
