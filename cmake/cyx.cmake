# Helpers shared by every room: one way to declare a library, a program and a unit test.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

find_program(CYX_CCACHE ccache)
if(CYX_CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
    set(CMAKE_C_COMPILER_LAUNCHER "${CYX_CCACHE}")
endif()

add_library(cyx_flags INTERFACE)
target_compile_options(cyx_flags INTERFACE
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
    -Wformat=2 -Wundef -Wwrite-strings -Wno-missing-field-initializers
    -fstack-protector-strong -fno-common)
target_compile_definitions(cyx_flags INTERFACE _GNU_SOURCE)
target_include_directories(cyx_flags INTERFACE "${CMAKE_SOURCE_DIR}/libs")
if(CYX_WERROR)
    target_compile_options(cyx_flags INTERFACE -Werror)
endif()
if(CYX_SANITIZE)
    target_compile_options(cyx_flags INTERFACE
        -fsanitize=${CYX_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
    target_link_options(cyx_flags INTERFACE -fsanitize=${CYX_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
    target_compile_definitions(cyx_flags INTERFACE _FORTIFY_SOURCE=2)
endif()

# cyx_library(NAME SOURCES a.c … [DEPS cyx_base …] [PKG jansson …] [LINK libs …])
# A static library cyx_NAME. Headers are included as "room/file.h" from libs/.
# DEPS are the only arrows that the layering check allows it (tests/support/layering).
function(cyx_library name)
    cmake_parse_arguments(A "" "" "SOURCES;DEPS;PKG;LINK" ${ARGN})
    add_library(cyx_${name} STATIC ${A_SOURCES})
    target_link_libraries(cyx_${name} PUBLIC cyx_flags ${A_DEPS} Threads::Threads)
    cyx_link_packages(cyx_${name} ${A_PKG})
    target_link_libraries(cyx_${name} PUBLIC ${A_LINK})
endfunction()

# cyx_program(NAME SOURCES … DEPS …): an executable build/…/bin/NAME.
function(cyx_program name)
    cmake_parse_arguments(A "" "" "SOURCES;DEPS;PKG;LINK" ${ARGN})
    add_executable(${name} ${A_SOURCES})
    target_link_libraries(${name} PRIVATE cyx_flags ${A_DEPS} Threads::Threads)
    cyx_link_packages(${name} ${A_PKG})
    target_link_libraries(${name} PRIVATE ${A_LINK})
    target_include_directories(${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
    install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()

# cyx_test(NAME SOURCES foo_test.c [foo.c] DEPS … [LABELS unit] [TIMEOUT 60])
# A cmocka program run by ctest. LABELS: unit (default), needs-postgres, needs-nats, needs-redis, vulkan.
function(cyx_test name)
    cmake_parse_arguments(A "" "TIMEOUT" "SOURCES;DEPS;PKG;LINK;LABELS" ${ARGN})
    add_executable(${name} ${A_SOURCES})
    if(NOT CYX_TESTS) # named, so that other lines may speak of it, but not built
        set_target_properties(${name} PROPERTIES EXCLUDE_FROM_ALL ON)
        return()
    endif()
    target_link_libraries(${name} PRIVATE cyx_flags ${A_DEPS} Threads::Threads)
    cyx_link_packages(${name} cmocka ${A_PKG})
    target_link_libraries(${name} PRIVATE ${A_LINK})
    target_include_directories(${name} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
    target_compile_definitions(${name} PRIVATE CYX_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    if(NOT A_LABELS)
        set(A_LABELS unit)
    endif()
    if(NOT A_TIMEOUT)
        set(A_TIMEOUT 120)
    endif()
    set_tests_properties(${name} PROPERTIES LABELS "${A_LABELS}" TIMEOUT ${A_TIMEOUT}
        SKIP_RETURN_CODE 77)
endfunction()

function(cyx_link_packages target)
    foreach(pkg ${ARGN})
        string(MAKE_C_IDENTIFIER "PKG_${pkg}" var)
        pkg_check_modules(${var} REQUIRED IMPORTED_TARGET ${pkg})
        get_target_property(kind ${target} TYPE)
        if(kind STREQUAL "EXECUTABLE")
            target_link_libraries(${target} PRIVATE PkgConfig::${var})
        else()
            target_link_libraries(${target} PUBLIC PkgConfig::${var})
        endif()
    endforeach()
endfunction()
