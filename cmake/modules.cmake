# One static library a folder, and the flags that all of them share.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(spdlog REQUIRED)
find_path(ASIO_INCLUDE asio.hpp REQUIRED)

add_library(farshore_flags INTERFACE)
target_compile_options(farshore_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow
    -Wnon-virtual-dtor -Wno-sign-conversion)
if(FARSHORE_WERROR)
    target_compile_options(farshore_flags INTERFACE -Werror)
endif()
target_include_directories(farshore_flags INTERFACE ${CMAKE_SOURCE_DIR})
option(FARSHORE_SANITIZE_QUICK "Sanitizers with a share of the sweeps and of the checks at each access" OFF)
if(FARSHORE_SANITIZE)
    target_compile_options(farshore_flags INTERFACE -fsanitize=${FARSHORE_SANITIZE}
        -fno-omit-frame-pointer -fno-sanitize-recover=all)
    if(FARSHORE_SANITIZE_QUICK)
        # Sweeps in part (tests/support/sanitized.hpp). And without what is checked at each access to an object, a third
        # of the compile time: the address sanitizer says most of it, too, and x86 takes any alignment.
        target_compile_definitions(farshore_flags INTERFACE FARSHORE_SANITIZE_QUICK)
        target_compile_options(farshore_flags INTERFACE -fno-sanitize=null,alignment,object-size)
    endif()
    target_link_options(farshore_flags INTERFACE -fsanitize=${FARSHORE_SANITIZE})
endif()
# Daemons that run as root and listen on the open net: what the compiler, the C library and the linker can check while
# they run. In the preset `release`; tests/lint/hardening.py looks at the programs. Sanitizers have checks of their own.
option(FARSHORE_HARDEN "FORTIFY_SOURCE=3, stack protector, libstdc++ assertions, PIE, full RELRO" OFF)
if(FARSHORE_HARDEN)
    if(FARSHORE_SANITIZE)
        message(FATAL_ERROR "FARSHORE_HARDEN and FARSHORE_SANITIZE exclude each other")
    endif()
    target_compile_options(farshore_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
        -D_GLIBCXX_ASSERTIONS -fstack-protector-strong -fPIE)
    target_link_options(farshore_flags INTERFACE -pie -Wl,-z,relro -Wl,-z,now)
endif()
target_compile_definitions(farshore_flags INTERFACE FARSHORE_VERSION="${PROJECT_VERSION}")

# Asio 1.22 does not recognise clang 19's coroutines by itself; both defines must come before any
# Asio header, so they stand here and nowhere else.
add_library(farshore_asio INTERFACE)
target_include_directories(farshore_asio SYSTEM INTERFACE ${ASIO_INCLUDE})
target_compile_definitions(farshore_asio INTERFACE ASIO_STANDALONE ASIO_NO_DEPRECATED
    ASIO_HAS_CO_AWAIT=1 ASIO_HAS_STD_COROUTINE=1)

# farshore_module(NAME DIR [DEPS other modules, or ASIO] [LIBS outside libraries, or ASIO])
function(farshore_module name dir)
    cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*.cpp)
    if(sources)
        add_library(farshore_${name} STATIC ${sources})
        set(scope PUBLIC)
    else()
        add_library(farshore_${name} INTERFACE)
        set(scope INTERFACE)
    endif()
    target_link_libraries(farshore_${name} ${scope} farshore_flags)
    foreach(dep IN LISTS ARG_DEPS ARG_LIBS)
        if(dep STREQUAL "ASIO")
            target_link_libraries(farshore_${name} ${scope} farshore_asio)
            if(sources)
                target_precompile_headers(farshore_${name} PRIVATE
                    ${CMAKE_SOURCE_DIR}/replicator/base/async.hpp)
            endif()
        elseif(dep IN_LIST ARG_LIBS)
            target_link_libraries(farshore_${name} ${scope} ${dep})
        else()
            target_link_libraries(farshore_${name} ${scope} farshore_${dep})
        endif()
    endforeach()
endfunction()

# Seconds that a test binary may take; ThreadSanitizer is that much slower.
set(farshore_test_timeout 600)
if(FARSHORE_SANITIZE MATCHES "thread")
    set(farshore_test_timeout 3600)
endif()

# All tests that need no program of ours: what the sanitizers' run builds.
add_custom_target(tests_alone)

# farshore_test(NAME DIR LABEL modules...): one doctest binary of all .cpp files in DIR.
function(farshore_test name dir label)
    file(GLOB sources CONFIGURE_DEPENDS ${dir}/*.cpp)
    if(NOT sources)
        return()
    endif()
    add_executable(${name} ${sources} ${CMAKE_SOURCE_DIR}/tests/support/doctest_main.cpp)
    foreach(dep IN LISTS ARGN)
        if(dep STREQUAL "ASIO")
            target_precompile_headers(${name} PRIVATE
                ${CMAKE_SOURCE_DIR}/replicator/base/async.hpp)
        elseif(TARGET farshore_${dep})
            target_link_libraries(${name} PRIVATE farshore_${dep})
        else()
            target_link_libraries(${name} PRIVATE ${dep})
        endif()
    endforeach()
    # A test's own code, where it is little work: half of its compile time. What it tests is compiled as always.
    if(name MATCHES "^unit_(sites|daemon|cli|config|control|session|transport|nbd|demo|storage|base)$")
        target_compile_options(${name} PRIVATE -O0)
    endif()
    add_dependencies(tests_alone ${name})
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${farshore_test_timeout})
endfunction()
