from threadpoolctl import threadpool_info, threadpool_limits

from metaflow_hpo.blas import single_threaded_blas


def count_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_has_one_thread_within_and_its_own_number_after():
    with threadpool_limits(2, user_api="blas"):
        with single_threaded_blas(), single_threaded_blas():
            assert count_threads() == {1}
        assert count_threads() == {2}


def test_a_cap_that_somebody_else_has_lifted_is_set_again():
    with threadpool_limits(2, user_api="blas"):
        with single_threaded_blas():
            threadpool_limits(2, user_api="blas")
            with single_threaded_blas():
                assert count_threads() == {1}
        assert count_threads() == {2}
