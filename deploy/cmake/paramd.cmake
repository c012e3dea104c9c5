# How this project declares its parts: pd_layer, pd_program, pd_test. A layer's objects reach a
# program or test only if it names that layer or one that uses it, so a call past the declared
# arrows is an undefined symbol.
#
#   pd_layer(core SOURCES shard.c control.c USES proto base optim LIBS m)
#   pd_layer(proto SOURCES frame.c PROTOS wire.proto LIBS PkgConfig::XXHASH)
#       -> OBJECT library pd_core (position-independent). PROTOS become <root>/proto/wire.pb-c.h,
#          included as "proto/wire.pb-c.h".
#   pd_program(paramd SOURCES main.c LAYERS net host LIBS PkgConfig::UV)
#       -> build/<preset>/bin/paramd
#   pd_test(unit/frame SOURCES frame_test.c LAYERS proto [LIBS ...] [LABELS tsan] [TIMEOUT 60])
#       -> ctest "unit/frame", label "unit" (the first part of the name) and those given. A test
#          defines `Suite *pd_test_suite(void)` (tests/support/check_main.h); main is there already,
#          unless the test brings its own.
#   pd_layer_objects(objects client_core)
#       -> the objects of that layer and of all it uses, to put into a library

# What every own source is compiled with. Dependencies' and generated code never sees it.
add_library(pd_options INTERFACE)
target_compile_options(pd_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
    -Wvla -Wformat=2 -Wundef
    # The same bits on every machine: no fused multiply-add unless it is written.
    -ffp-contract=off)
# accept4, pipe2 and the like: Linux is the platform.
target_compile_definitions(pd_options INTERFACE _GNU_SOURCE)
# proto/ too, so that the installed paramd.h can say "paramd_status.h" here as well. For quoted
# names only: <limits.h> is the C library's, not proto/limits.h.
target_compile_options(pd_options INTERFACE
    "SHELL:-iquote ${CMAKE_SOURCE_DIR}" "SHELL:-iquote ${CMAKE_SOURCE_DIR}/proto")
target_include_directories(pd_options SYSTEM INTERFACE ${CMAKE_BINARY_DIR}/generated)

# The named layers and all they use, without repetition. Layers are declared from the bottom up.
function(pd_layer_closure ret_layers)
    set(closure)
    foreach(layer IN LISTS ARGN)
        if(NOT TARGET pd_${layer})
            message(FATAL_ERROR "layer '${layer}' is not declared before its use")
        endif()
        get_target_property(uses pd_${layer} PD_CLOSURE)
        list(APPEND closure ${uses})
    endforeach()
    list(REMOVE_DUPLICATES closure)
    set(${ret_layers} ${closure} PARENT_SCOPE)
endfunction()

# Turns PROTOS into C below the build directory; ret_sources are the .c files.
function(pd_protobuf ret_sources)
    set(sources)
    foreach(proto IN LISTS ARGN)
        cmake_path(ABSOLUTE_PATH proto BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
        cmake_path(RELATIVE_PATH proto BASE_DIRECTORY ${CMAKE_SOURCE_DIR} OUTPUT_VARIABLE path)
        string(REGEX REPLACE "\\.proto$" ".pb-c" stem ${CMAKE_BINARY_DIR}/generated/${path})
        file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated)
        add_custom_command(OUTPUT ${stem}.c ${stem}.h
            COMMAND ${PROTOC_C} --c_out=${CMAKE_BINARY_DIR}/generated -I${CMAKE_SOURCE_DIR} ${path}
            DEPENDS ${proto}
            WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
            VERBATIM)
        set_source_files_properties(${stem}.c PROPERTIES COMPILE_OPTIONS -w)
        list(APPEND sources ${stem}.c)
    endforeach()
    set(${ret_sources} ${sources} PARENT_SCOPE)
endfunction()

function(pd_layer name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;USES;LIBS;PROTOS")
    pd_protobuf(generated ${arg_PROTOS})
    add_library(pd_${name} OBJECT ${arg_SOURCES} ${generated})
    pd_layer_closure(closure ${arg_USES})
    list(TRANSFORM arg_USES PREPEND pd_)
    target_link_libraries(pd_${name} PUBLIC ${arg_USES} ${arg_LIBS} PRIVATE pd_options)
    set_target_properties(pd_${name} PROPERTIES
        POSITION_INDEPENDENT_CODE ON
        PD_CLOSURE "${name};${closure}")
endfunction()

function(pd_layer_objects ret_objects)
    pd_layer_closure(layers ${ARGN})
    list(TRANSFORM layers REPLACE "(.+)" "$<TARGET_OBJECTS:pd_\\1>")
    set(${ret_objects} ${layers} PARENT_SCOPE)
endfunction()

function(pd_program name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LAYERS;LIBS")
    add_executable(${name} ${arg_SOURCES})
    pd_layer_closure(layers ${arg_LAYERS})
    list(TRANSFORM layers PREPEND pd_)
    target_link_libraries(${name} PRIVATE ${layers} ${arg_LIBS} pd_options)
endfunction()

function(pd_test name)
    if(NOT BUILD_TESTING)
        return()
    endif()
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;LAYERS;LIBS;LABELS")
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    string(REPLACE "/" "-" target test/${name})
    pd_program(${target} SOURCES ${arg_SOURCES} LAYERS ${arg_LAYERS} LIBS ${arg_LIBS}
        pd_check_main)
    set_target_properties(${target} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/tests)
    add_test(NAME ${name} COMMAND ${target})
    # Under sanitizers a test takes several times as long; Check's own limit is per test case.
    string(REGEX REPLACE "/.*" "" suite ${name})
    set_tests_properties(${name} PROPERTIES
        LABELS "${suite};${arg_LABELS}"
        TIMEOUT ${arg_TIMEOUT}
        ENVIRONMENT "CK_VERBOSITY=normal;CK_DEFAULT_TIMEOUT=${arg_TIMEOUT}")
endfunction()
