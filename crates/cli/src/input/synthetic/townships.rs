//! Zhenhai's seven townships (镇海区, 330211), drawn by hand.
//!
//! **Approximate**: no boundary with a clear licence is at hand. The polygons tile the district's
//! bounding box roughly, share their borders exactly, and lie to each other as the townships do
//! (hills in the west, the coast in the north, the mouth of the Yong river in the east). Good for a
//! demonstration and for tests, for nothing else. Codes and names are the official ones of 2023;
//! road names are taken from the district or made up.

use geo_types::{LineString, MultiPolygon, Polygon};
use gridbeat_base::Scope;

use super::super::areas::{Area, Areas};

/// One township.
#[derive(Debug)]
pub(super) struct Township {
    /// Official 9-digit code: the scope's name.
    pub(super) code: &'static str,
    /// Official name.
    name: &'static str,
    /// How many of a hundred requests: towns more, farmland and hills less.
    pub(super) weight: u64,
    /// The corners, clockwise, as (longitude, latitude); the ring closes itself.
    ring: &'static [(f64, f64)],
    /// Roads to write in addresses.
    pub(super) roads: &'static [&'static str],
    /// Communities and villages to write in addresses.
    pub(super) communities: &'static [&'static str],
}

/// Returns the seven townships as areas, in the order of their codes.
///
/// Approximate polygons: see the module.
pub fn zhenhai() -> Areas {
    let area = |township: &Township| {
        let ring = LineString::from(township.ring.to_vec());
        let shape = MultiPolygon::new(vec![Polygon::new(ring, Vec::new())]);
        let scope = Scope::new(township.code).expect("nine digits");
        Area::new(township.name, scope, shape).expect("a drawn shape is not empty")
    };
    Areas::new(TOWNSHIPS.iter().map(area).collect())
}

// Corners where three townships meet, or two and the district's border, named after them.
const NW: (f64, f64) = (121.500, 30.040);
const JIULONGHU_XIEPU: (f64, f64) = (121.545, 30.072);
const XIEPU_JIAOCHUAN: (f64, f64) = (121.668, 30.035);
const JIAOCHUAN_ZHAOBAOSHAN: (f64, f64) = (121.720, 30.005);
const ZHAOBAOSHAN_JIAOCHUAN: (f64, f64) = (121.712, 29.944);
const JIAOCHUAN_ZHUANGSHI: (f64, f64) = (121.660, 29.915);
const ZHUANGSHI_LUOTUO: (f64, f64) = (121.560, 29.905);
const LUOTUO_JIULONGHU: (f64, f64) = (121.480, 29.965);
const JIULONGHU_XIEPU_LUOTUO: (f64, f64) = (121.555, 29.990);
const XIEPU_LUOTUO_GUISI: (f64, f64) = (121.585, 29.985);
const XIEPU_GUISI_JIAOCHUAN: (f64, f64) = (121.645, 29.985);
const LUOTUO_GUISI_ZHUANGSHI: (f64, f64) = (121.600, 29.945);
const GUISI_ZHUANGSHI_JIAOCHUAN: (f64, f64) = (121.650, 29.948);
// Bends of shared borders.
const HILL: (f64, f64) = (121.548, 30.035);
const CANAL_WEST: (f64, f64) = (121.515, 29.975);
const CANAL_NORTH: (f64, f64) = (121.612, 29.992);
const RING_ROAD: (f64, f64) = (121.588, 29.962);
const UNIVERSITY: (f64, f64) = (121.625, 29.940);
const METRO: (f64, f64) = (121.578, 29.925);
const REFINERY: (f64, f64) = (121.655, 30.010);
const POWER_STATION: (f64, f64) = (121.656, 29.966);
const BRIDGE: (f64, f64) = (121.657, 29.930);
const OLD_TOWN: (f64, f64) = (121.708, 29.975);

/// The seven, in the order of their codes.
pub(super) const TOWNSHIPS: [Township; 7] = [
    Township {
        code: "330211001",
        name: "招宝山街道",
        weight: 20,
        ring: &[
            JIAOCHUAN_ZHAOBAOSHAN,
            (121.752, 29.998),
            (121.788, 29.985),
            (121.776, 29.954),
            (121.742, 29.943),
            ZHAOBAOSHAN_JIAOCHUAN,
            OLD_TOWN,
        ],
        roads: &[
            "城河东路",
            "城河西路",
            "胜利路",
            "车站路",
            "后大街",
            "南大街",
            "鼓楼东路",
            "沿江东路",
            "平海路",
            "西门路",
        ],
        communities: &[
            "城东社区",
            "胜利路社区",
            "总浦桥社区",
            "后大街社区",
            "顺隆社区",
            "车站路社区",
            "西门社区",
            "白龙社区",
            "张监碶社区",
            "海港社区",
        ],
    },
    Township {
        code: "330211002",
        name: "蛟川街道",
        weight: 16,
        ring: &[
            XIEPU_JIAOCHUAN,
            (121.695, 30.024),
            JIAOCHUAN_ZHAOBAOSHAN,
            OLD_TOWN,
            ZHAOBAOSHAN_JIAOCHUAN,
            (121.688, 29.932),
            JIAOCHUAN_ZHUANGSHI,
            BRIDGE,
            GUISI_ZHUANGSHI_JIAOCHUAN,
            POWER_STATION,
            XIEPU_GUISI_JIAOCHUAN,
            REFINERY,
        ],
        roads: &[
            "镇宁东路",
            "雄镇路",
            "东信路",
            "俞范东路",
            "隧道北路",
            "镇浦路",
            "临江路",
            "银凤路",
        ],
        communities: &[
            "五里牌社区",
            "镇电社区",
            "后施社区",
            "炼化社区",
            "临江社区",
            "俞范社区",
            "银凤社区",
            "东信路社区",
            "石塘下社区",
            "清水浦村",
        ],
    },
    Township {
        code: "330211003",
        name: "骆驼街道",
        weight: 22,
        ring: &[
            LUOTUO_JIULONGHU,
            CANAL_WEST,
            JIULONGHU_XIEPU_LUOTUO,
            XIEPU_LUOTUO_GUISI,
            RING_ROAD,
            LUOTUO_GUISI_ZHUANGSHI,
            METRO,
            ZHUANGSHI_LUOTUO,
            (121.510, 29.930),
        ],
        roads: &[
            "慈海南路",
            "镇骆西路",
            "通园路",
            "聚源路",
            "南二西路",
            "民和路",
            "锦业街",
            "金华路",
            "盛家路",
        ],
        communities: &[
            "中街社区",
            "南一社区",
            "盛家社区",
            "静远社区",
            "莲晴社区",
            "箭港湖社区",
            "金邑社区",
            "桕墅方社区",
            "金东社区",
            "团桥村",
        ],
    },
    Township {
        code: "330211004",
        name: "庄市街道",
        weight: 20,
        ring: &[
            LUOTUO_GUISI_ZHUANGSHI,
            UNIVERSITY,
            GUISI_ZHUANGSHI_JIAOCHUAN,
            BRIDGE,
            JIAOCHUAN_ZHUANGSHI,
            (121.610, 29.895),
            ZHUANGSHI_LUOTUO,
            METRO,
        ],
        roads: &[
            "兴庄路",
            "中官西路",
            "毓秀路",
            "庄市大道",
            "陈倪路",
            "同心路",
            "明海南路",
            "锦绣路",
        ],
        communities: &[
            "庄市社区",
            "庄一社区",
            "兴庄路社区",
            "陈倪路社区",
            "高教社区",
            "同心湖社区",
            "中兴社区",
            "锦绣社区",
            "光明村",
            "万市徐村",
        ],
    },
    Township {
        code: "330211005",
        name: "贵驷街道",
        weight: 9,
        ring: &[
            XIEPU_LUOTUO_GUISI,
            CANAL_NORTH,
            XIEPU_GUISI_JIAOCHUAN,
            POWER_STATION,
            GUISI_ZHUANGSHI_JIAOCHUAN,
            UNIVERSITY,
            LUOTUO_GUISI_ZHUANGSHI,
            RING_ROAD,
        ],
        roads: &[
            "贵驷大街",
            "东桂路",
            "沙河路",
            "里洞桥路",
            "兴丰路",
            "民联路",
        ],
        communities: &[
            "贵驷社区",
            "东桂社区",
            "里洞桥村",
            "兴丰村",
            "妙胜寺村",
            "沙河村",
            "东钱村",
        ],
    },
    Township {
        code: "330211100",
        name: "澥浦镇",
        weight: 7,
        ring: &[
            JIULONGHU_XIEPU,
            (121.585, 30.068),
            (121.628, 30.055),
            XIEPU_JIAOCHUAN,
            REFINERY,
            XIEPU_GUISI_JIAOCHUAN,
            CANAL_NORTH,
            XIEPU_LUOTUO_GUISI,
            JIULONGHU_XIEPU_LUOTUO,
            HILL,
        ],
        roads: &["广源路", "凤翔路", "北海路", "汇源路", "湾塘路", "十七房路"],
        communities: &[
            "广源社区",
            "沿山村",
            "觉渡村",
            "庙戴村",
            "十七房村",
            "湾塘村",
            "岚山村",
        ],
    },
    Township {
        code: "330211101",
        name: "九龙湖镇",
        weight: 6,
        ring: &[
            (121.466, 30.005),
            NW,
            JIULONGHU_XIEPU,
            HILL,
            JIULONGHU_XIEPU_LUOTUO,
            CANAL_WEST,
            LUOTUO_JIULONGHU,
        ],
        roads: &["长石路", "九龙大道", "河头路", "汶溪路", "西河路", "湖滨路"],
        communities: &[
            "思源社区",
            "龙源社区",
            "河源社区",
            "九龙湖村",
            "田杨陈村",
            "河头村",
            "汶溪村",
            "田顾村",
        ],
    },
];

/// Roads for areas that are not Zhenhai's.
pub(super) const OTHER_ROADS: [&str; 8] = [
    "人民路",
    "解放路",
    "中山路",
    "建设路",
    "新华路",
    "和平路",
    "文化路",
    "胜利路",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use geo::{Area as _, Validation as _};
    use gridbeat_base::Random;

    use super::*;

    #[test]
    fn the_townships_tile_without_gap_or_overlap() {
        let areas = zhenhai();
        // Every edge is walked once, and once the other way by the neighbour; what remains is the
        // outer border, one ring whose area is the sum of all: then nothing overlaps or gapes.
        let key =
            |c: geo_types::Coord<f64>| ((c.x * 1e6).round() as i64, (c.y * 1e6).round() as i64);
        let mut edges = BTreeMap::new();
        let mut sum = 0.0;
        for area in areas.all() {
            assert!(area.shape.is_valid(), "{} crosses itself", area.name);
            assert!(
                area.shape.signed_area() < 0.0,
                "{} is not clockwise",
                area.name
            );
            sum += area.shape.unsigned_area();
            for edge in area.shape.iter().flat_map(|p| p.exterior().lines()) {
                let once = edges
                    .insert((key(edge.start), key(edge.end)), edge)
                    .is_none();
                assert!(once, "{}: an edge is walked twice the same way", area.name);
            }
        }
        let outer: BTreeMap<_, _> = edges
            .iter()
            .filter(|((a, b), _)| !edges.contains_key(&(*b, *a)))
            .map(|((a, _), edge)| (*a, edge))
            .collect();
        let first = *outer.keys().next().unwrap();
        let mut ring = Vec::new();
        let mut at = first;
        loop {
            let edge = outer[&at];
            ring.push(edge.start);
            at = key(edge.end);
            if at == first {
                break;
            }
        }
        assert_eq!(ring.len(), outer.len(), "the border is one ring");
        let border = Polygon::new(LineString::new(ring), Vec::new());
        assert!(border.is_valid());
        assert!((border.unsigned_area() - sum).abs() < 1e-12);
    }

    #[test]
    fn the_townships_fill_the_districts_bounding_box_about_as_they_should() {
        let areas = zhenhai();
        let bounds = areas.bounds().unwrap();
        assert_eq!((bounds.min().x, bounds.min().y), (121.466, 29.895));
        assert_eq!((bounds.max().x, bounds.max().y), (121.788, 30.072));
        assert_eq!(TOWNSHIPS.iter().map(|t| t.weight).sum::<u64>(), 100);
        let scopes: Vec<_> = areas.all().iter().map(|a| a.scope.as_str()).collect();
        assert!(scopes.is_sorted());
        let mut random = Random::from_number(9);
        for (index, area) in areas.all().iter().enumerate() {
            for _ in 0..200 {
                assert_eq!(
                    areas.containing(area.random_point(&mut random)),
                    Some(index)
                );
            }
        }
    }
}
