// The executable of the native tests; all else is in a shared object (CMakeLists.txt says why).
extern "C" int metavoice_tests_main(int count, char** values);

int main(int count, char** values) { return metavoice_tests_main(count, values); }
