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
        -fno-omit-frame-pointer -fno-sanitize-recover=all -D_GLIBCXX_ASSERTIONS)
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

# Compiled without optimisation where that makes nothing slower that matters: optimising coroutines is half of the
# compile time. The code of tests that do little work; in the test command's sanitizer build also the modules that
# decide and speak, while those that touch each byte stay optimised.
set(unoptimised_tests "^unit_(sites|daemon|cli|config|control|session|transport|nbd|demo|storage|base)$")
set(unoptimised_modules "^$")
if(FARSHORE_SANITIZE_QUICK)
    set(unoptimised_tests
        "^(unit_(sites|daemon|cli|config|control|session|transport|demo|storage|base|carry|rehearsal)|fuzz_smoke_.*)$")
    set(unoptimised_modules
        "^(sender|receiver|session|quiesce|config|daemon|carry|hook|rehearsal|cli|demo|control|transport)$")
endif()

# There, several files of a folder are compiled as one: most of what is left is reading the same headers. Names in their
# unnamed namespaces must differ for that; these files share one with a neighbour and are compiled alone.
if(FARSHORE_SANITIZE_QUICK)
    set(CMAKE_UNITY_BUILD ON)
    set(CMAKE_UNITY_BUILD_BATCH_SIZE 6)
    target_compile_options(farshore_flags INTERFACE -Wno-shadow) # of a neighbour's names
endif()
set(compiled_alone tests/support/doctest_main.cpp
    replicator/carry/qemu_img.cpp replicator/cli/render.cpp replicator/config/units.cpp
    replicator/format/codec_program.cpp replicator/hook/hook_main.cpp replicator/hook/script_process.cpp
    replicator/receiver/pack_stage.cpp replicator/receiver/receiver_group_retention.cpp
    replicator/rehearsal/script_runner.cpp replicator/replica/block_set.cpp replicator/replica/point_overlay.cpp
    tests/unit/capture/dirty_map_cases_test.cpp tests/unit/config/hook_keys_test.cpp
    tests/unit/daemon/status_json_test.cpp tests/unit/hook/guard_cases_test.cpp
    tests/unit/log/segment_store_test.cpp tests/unit/log/spool_test.cpp tests/unit/log/undo_log_test.cpp tests/unit/nbd/refusal_test.cpp
    tests/unit/rehearsal/rehearsal_test.cpp tests/unit/replica/loan_store_test.cpp
    tests/unit/sites/catch_up_hold_test.cpp tests/unit/sites/hostile_site_test.cpp tests/unit/sites/loans_test.cpp
    tests/unit/sites/peer_trust_test.cpp tests/unit/sites/rollback_test.cpp)
foreach(file IN LISTS compiled_alone)
    if(NOT EXISTS ${CMAKE_SOURCE_DIR}/${file})
        message(FATAL_ERROR "cmake/modules.cmake: there is no ${file} to be compiled alone")
    endif()
endforeach()
function(keep_alone target)
    foreach(file IN LISTS compiled_alone)
        set_source_files_properties(${CMAKE_SOURCE_DIR}/${file} TARGET_DIRECTORY ${target}
            PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    endforeach()
    if(NOT target MATCHES "^(farshore|unit)_")
        set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
    endif()
endfunction()

# Precompiled once and used by all whose flags are these. A target that uses one must not add options of its own that
# the compiler holds against it.
foreach(kind async async_o0)
    file(WRITE ${CMAKE_BINARY_DIR}/${kind}.cpp.in "#include \"replicator/base/async.hpp\"\n")
    configure_file(${CMAKE_BINARY_DIR}/${kind}.cpp.in ${CMAKE_BINARY_DIR}/${kind}.cpp COPYONLY)
    add_library(farshore_pch_${kind} OBJECT ${CMAKE_BINARY_DIR}/${kind}.cpp)
    target_link_libraries(farshore_pch_${kind} PRIVATE farshore_flags farshore_asio fmt::fmt Threads::Threads)
    target_precompile_headers(farshore_pch_${kind} PRIVATE ${CMAKE_SOURCE_DIR}/replicator/base/async.hpp)
endforeach()
target_compile_options(farshore_pch_async_o0 PRIVATE -O0)

# farshore_module(NAME DIR [DEPS other modules, or ASIO] [LIBS outside libraries, or ASIO])
function(farshore_module name dir)
    cmake_parse_arguments(ARG "" "" "DEPS;LIBS" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*.cpp)
    if(sources)
        add_library(farshore_${name} STATIC ${sources})
        keep_alone(farshore_${name})
        set(scope PUBLIC)
    else()
        add_library(farshore_${name} INTERFACE)
        set(scope INTERFACE)
    endif()
    target_link_libraries(farshore_${name} ${scope} farshore_flags)
    set(precompiled farshore_pch_async)
    if(sources AND name MATCHES ${unoptimised_modules})
        target_compile_options(farshore_${name} PRIVATE -O0)
        set(precompiled farshore_pch_async_o0)
    endif()
    foreach(dep IN LISTS ARG_DEPS ARG_LIBS)
        if(dep STREQUAL "ASIO")
            target_link_libraries(farshore_${name} ${scope} farshore_asio)
            if(sources)
                target_precompile_headers(farshore_${name} REUSE_FROM ${precompiled})
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
# What the test command builds in release mode: programs, what the end-to-end tests need, and the sweeps. The unit tests
# and the fuzz smoke tests have the sanitizers there; CTest of a whole release build runs them, too.
add_custom_target(tests_of_release)

# farshore_test(NAME DIR LABEL modules...): one doctest binary of all .cpp files in DIR.
function(farshore_test name dir label)
    file(GLOB sources CONFIGURE_DEPENDS ${dir}/*.cpp)
    if(NOT sources)
        return()
    endif()
    add_executable(${name} ${sources} ${CMAKE_SOURCE_DIR}/tests/support/doctest_main.cpp)
    keep_alone(${name})
    set(precompiled farshore_pch_async)
    if(name MATCHES ${unoptimised_tests})
        target_compile_options(${name} PRIVATE -O0)
        set(precompiled farshore_pch_async_o0)
    endif()
    foreach(dep IN LISTS ARGN)
        if(dep STREQUAL "ASIO")
            target_precompile_headers(${name} REUSE_FROM ${precompiled})
        elseif(TARGET farshore_${dep})
            target_link_libraries(${name} PRIVATE farshore_${dep})
        else()
            target_link_libraries(${name} PRIVATE ${dep})
        endif()
    endforeach()
    add_dependencies(tests_alone ${name})
    if(NOT label STREQUAL "unit")
        add_dependencies(tests_of_release ${name})
    endif()
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT ${farshore_test_timeout})
endfunction()
