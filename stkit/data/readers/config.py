"""Configuration of the readers of published data sets. Imports neither torch nor a reader."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from stkit.data.frames_config import Size
from stkit.plugin.config import ComponentConfig


class KthConfig(ComponentConfig):
    """KTH human actions (Schuldt et al. 2004): six folders of videos of 25 persons. Had from
    www.csc.kth.se/cvap/actions, one ZIP for each action; unpack each into a folder of its action's name."""

    path: str
    """The folder with ``boxing``, ``handclapping``, ``handwaving``, ``jogging``, ``running`` and ``walking``: ``.avi``
    files, or folders of frames with the videos' names."""
    size: Size = (128, 128)
    """Height and width to which frames are scaled."""
    validation_persons: tuple[int, ...] = (15, 16)
    """Persons of the usual training set (1 to 16) that are kept for validation; the test set is persons 17 to 25."""


class Human36mConfig(ComponentConfig):
    """Human3.6M (Ionescu et al. 2014): videos of seven subjects. Had from vision.imar.ro/human3.6m with an account;
    unpack the videos of each subject."""

    path: str
    """The folder with ``S1/Videos/Walking.54138969.mp4`` and so on."""
    action: str = "Walking"
    """What is done; ``Walking 1`` and the like count as it."""
    size: Size = (128, 128)
    """Height and width to which frames are scaled."""
    every: int = Field(5, ge=1)
    """Take every so-manieth frame; the videos have 50 in a second."""
    validation_subjects: tuple[str, ...] = ("S8",)
    """Subjects of the usual training set (S1, S5, S6, S7, S8) that are kept for validation; the test set is S9, S11."""


class TaxiBjConfig(ComponentConfig):
    """TaxiBJ (Zhang et al. 2017): taxis that enter and leave the cells of Beijing, every 30 minutes. Had from the
    repositories of DeepST and of MIM's authors, as ``BJ13_M32x32_T30_InOut.h5`` to ``BJ16_M32x32_T30_InOut.h5``."""

    path: str
    """The folder with these files, or one of them; or the archive of ready windows (``dataset.npz``: four half hours
    and the four after them), whose flows are shares of the largest one. It has no validation part: the last tenth of
    its training windows is one."""


class SevirConfig(ComponentConfig):
    """SEVIR (Veillette et al. 2020): storms over the United States, four hours in steps of 5 minutes. Had from
    registry.opendata.aws/sevir: ``CATALOG.csv`` and ``data``."""

    path: str
    """The folder with ``CATALOG.csv`` and ``data``."""
    image: Literal["vil", "ir069", "ir107", "vis", "lght"] = "vil"
    """Which images; ``lght`` has no images and is refused."""
    validation_from: str = "2019-01-01"
    """Storms from this day on are the validation part."""
    test_from: str = "2019-06-01"
    """Storms from this day on are the test part, as in the paper."""


class _RadarConfig(ComponentConfig):
    """What radar readers have in common."""

    path: str
    """A folder of files, searched with the folders inside it; or a pattern."""
    allow_gaps: bool = False
    """Leave out the windows that would cross a gap in time, instead of refusing the files."""


class Hko7Config(_RadarConfig):
    """HKO-7 (Shi et al. 2017): radar of Hong Kong, every 6 minutes. Had from the Hong Kong Observatory on request, see
    github.com/sxjscience/HKO-7: ``radarPNG`` and ``radarPNG_mask``."""

    path: str
    """The folder with ``radarPNG`` and, if masks are wanted, ``radarPNG_mask``: 1 where a pixel counts."""
    allow_gaps: bool = True
    """Leave out the windows that would cross a gap in time, of which the data have many."""
    quantity: Literal["rain_rate", "reflectivity"] = "rain_rate"
    """``rain_rate`` [mm/h] by the authors' relation (a = 58.53, b = 1.56), or ``reflectivity`` [dBZ]."""


class KnmiRadarConfig(_RadarConfig):
    """KNMI radar in HDF5, the format of ``RAD_NL25_RAP_5min_201008260000.h5``. Had from dataplatform.knmi.nl."""

    accumulation_minutes: float = Field(5.0, gt=0)
    """Over which a file with sums of rain [mm] sums; it becomes a rate [mm/h]. Reflectivity stays [dBZ]."""


class FmiRadarConfig(_RadarConfig):
    """FMI radar in PGM, the format of ``201609281445_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz``. Had from
    en.ilmatieteenlaitos.fi/open-data; reflectivity [dBZ]."""


class OdimRadarConfig(_RadarConfig):
    """Radar composites in ODIM HDF5, the format of OPERA, FMI and others. Had from each service, of FMI from
    en.ilmatieteenlaitos.fi/open-data."""

    quantity: str | None = None
    """Which quantity of the file, such as ``RATE``, ``ACRR`` or ``DBZH``; null: its first."""


class MrmsRadarConfig(_RadarConfig):
    """MRMS radar in GRIB2, the format of ``PrecipRate_00.00_20190610-000000.grib2.gz``. Had from
    registry.opendata.aws/noaa-mrms-pds."""

    shrink: int = Field(1, ge=1)
    """Average over so many cells in each direction; the composite has 3500 x 7000."""


class WeatherBenchConfig(ComponentConfig):
    """WeatherBench (Rasp et al. 2020): ERA5 on a coarse grid, one folder a variable, one file a year. Had from
    mediatum.ub.tum.de/1524895; unpack the ZIP of each variable."""

    path: str
    """The folder with ``geopotential_500``, ``2m_temperature`` and so on."""
    variables: tuple[str, ...] = Field(min_length=1)
    """Folders, such as ``geopotential_500``; with a level behind ``@`` from a folder of several levels:
    ``temperature@850``. Of ``constants`` write ``constants/lsm``; it is a static variable."""
    years: str | None = Field(None, pattern=r"^\d{4}\.\.\d{4}$")
    """``1979..2018``, both included; null: all that are there."""
    memory_mb: int = Field(1024, ge=0)
    """Each variable up to this size is kept in memory; larger ones are read from the files window by window."""


class OisstConfig(ComponentConfig):
    """NOAA OISST v2.1 (Huang et al. 2021): daily sea-surface temperature and ice on a grid of a quarter degree.
    Had from www.ncei.noaa.gov/products/optimum-interpolation-sst, one file a day."""

    path: str
    """The folder with ``198109/oisst-avhrr-v02r01.19810901.nc`` and so on; or a pattern."""
    variables: tuple[Literal["sst", "anom", "err", "ice"], ...] = ("sst",)
    """Which of the file's variables."""
    allow_gaps: bool = False
    """Leave out the windows that would cross a gap in time, instead of refusing the files."""
    memory_mb: int = Field(1024, ge=0)
    """Fields up to this size are kept in memory; larger ones are read from the files window by window."""
