# The sources of reference.h, for the tests that run graphs by it.
foreach(part "" _affine _elementwise _loss _norm _optimizer _pool)
    list(APPEND CYX_REFERENCE_SOURCES "${CMAKE_SOURCE_DIR}/tests/support/reference${part}.c")
endforeach()
