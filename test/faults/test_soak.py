"""A day of a robot whose map is bounded: nothing grows."""
import pytest
import soak


def samples(growth):
    """Ten minutes of the robot's day each, with a map that is full after the second hour."""
    return [soak.Sample(hour, hour / 6, 300 * (1 + growth * hour), 20, 4, 40.0 + hour // 6 % 3, 50.0,
                        min(hour * 8, 100)) for hour in range(1, 24 * 6 + 1)]


def test_the_verdict_compares_hours_of_the_same_lights():
    flat, growing = soak.verdict(samples(0.0), 100), soak.verdict(samples(0.001), 100)
    assert flat['full_after_hours'] == pytest.approx(13 / 6)
    assert [flat[f'{name}_growth'] for name in ('rss_anon_mb', 'handles', 'keyframe_ms_p50')] == [0, 0, 0]
    assert growing['rss_anon_mb_growth'] > soak.FLAT


@pytest.mark.long
def test_a_day():
    figures = soak.verdict(soak.run(24.0, 100, 11, 160), 100)
    for name in ('rss_anon_mb', 'handles', 'threads'):
        assert figures[f'{name}_growth'] <= soak.FLAT, figures
